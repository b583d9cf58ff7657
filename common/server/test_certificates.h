// Certificates for tests, and a client that looks at them.
#pragma once

#include <string>

#include "common/testing/testing.h"

namespace naru {

/// PEM files in a directory: an authority, and a certificate for `localhost` and 127.0.0.1 that it signed.
struct TestCertificates {
  std::string ca;
  std::string cert;
  std::string key;
};
TestCertificates MakeTestCertificates(const testing::TempDir& dir);

/// Sends `GET path` over TLS to a server whose certificate the authority in the file `ca` must have signed for
/// `localhost`. The whole answer; empty when there was none.
std::string HttpsGet(const std::string& address, const std::string& path, const std::string& ca);

}  // namespace naru
