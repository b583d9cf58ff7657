#include "common/server/tls.h"

#include <grpcpp/security/server_credentials.h>
#include <grpcpp/security/tls_certificate_provider.h>
#include <grpcpp/security/tls_credentials_options.h>
#include <openssl/bio.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include <fstream>
#include <sstream>

#include "absl/strings/str_cat.h"
#include "common/status/status.h"

namespace naru {
namespace {

constexpr size_t kMaxFileBytes = 1 << 20;
constexpr unsigned kReloadSeconds = 10;

absl::Status BadFile(const std::string& path, absl::string_view what) {
  return MakeError(absl::StatusCode::kInvalidArgument, "TLS_FILE", absl::StrCat(path, ": ", what));
}

using BioPtr = std::unique_ptr<BIO, decltype(&BIO_free)>;

BioPtr OpenText(const std::string& text) {
  return {BIO_new_mem_buf(text.data(), static_cast<int>(text.size())), &BIO_free};
}

}  // namespace

absl::StatusOr<std::string> ReadPemFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  if (!file || !(text << file.rdbuf())) return BadFile(path, "cannot be read");
  std::string pem = text.str();
  if (pem.size() > kMaxFileBytes) return BadFile(path, "is larger than 1 MiB: not a PEM file");
  return pem;
}

absl::Status CheckKeyPair(const std::string& cert_path, const std::string& key_path) {
  NARU_ASSIGN_OR_RETURN(const std::string cert_pem, ReadPemFile(cert_path));
  NARU_ASSIGN_OR_RETURN(const std::string key_pem, ReadPemFile(key_path));
  const BioPtr cert_bio = OpenText(cert_pem);
  const BioPtr key_bio = OpenText(key_pem);
  const std::unique_ptr<X509, decltype(&X509_free)> cert(PEM_read_bio_X509(cert_bio.get(), nullptr, nullptr, nullptr),
                                                         &X509_free);
  if (cert == nullptr) return BadFile(cert_path, "holds no PEM certificate");
  // An empty passphrase, so that OpenSSL never asks for one on the terminal.
  char no_passphrase[] = "";
  const std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)> key(
      PEM_read_bio_PrivateKey(key_bio.get(), nullptr, nullptr, no_passphrase), &EVP_PKEY_free);
  if (key == nullptr) return BadFile(key_path, "holds no PEM private key without a passphrase");
  if (X509_check_private_key(cert.get(), key.get()) != 1) {
    return BadFile(key_path, absl::StrCat("is not the private key of ", cert_path));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> MakeServerCredentials(const ServerOptions& options) {
  if (options.tls_cert.empty()) {
    return options.require_keys ? grpc::experimental::LocalServerCredentials(LOCAL_TCP)
                                : grpc::InsecureServerCredentials();
  }
  NARU_RETURN_IF_ERROR(CheckKeyPair(options.tls_cert, options.tls_key));
  std::shared_ptr<grpc::experimental::CertificateProviderInterface> files;
  if (options.tls_client_ca.empty()) {
    files = std::make_shared<grpc::experimental::FileWatcherCertificateProvider>(options.tls_key, options.tls_cert,
                                                                                 kReloadSeconds);
  } else {
    NARU_RETURN_IF_ERROR(ReadPemFile(options.tls_client_ca).status());
    files = std::make_shared<grpc::experimental::FileWatcherCertificateProvider>(options.tls_key, options.tls_cert,
                                                                                 options.tls_client_ca, kReloadSeconds);
  }
  grpc::experimental::TlsServerCredentialsOptions tls(files);
  tls.watch_identity_key_cert_pairs();
  if (!options.tls_client_ca.empty()) {
    tls.watch_root_certs();
    tls.set_cert_request_type(GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
  }
  return grpc::experimental::TlsServerCredentials(tls);
}

}  // namespace naru
