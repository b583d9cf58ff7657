// naru key: API keys, on a server or, without one, in a data directory.
#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/config/config.h"
#include "common/status/status.h"
#include "naru/catalog/v1/catalog.grpc.pb.h"
#include "services/naru/command.h"
#include "services/naru/offline_catalog.h"
#include "services/naru/proto_time.h"

namespace naru::cli {
namespace {

using catalog::v1::ApiKey;
using catalog::v1::CatalogService;

// What both ways of reaching the keys share.
class KeyCommand : public Command {
 public:
  void AddOptions(Options& options) override {
    AddOwnOptions(options);
    options.Section("Without a server");
    options.Add("data_dir", &place_.data_dir, "Work on this data directory; no server may be running on it.")
        .ValueName("DIR");
    options.Add("kafka_brokers", &place_.kafka_brokers, "Work on the catalog of these brokers.")
        .ValueName("HOST:PORT,...");
    options.Add("topic_prefix", &place_.topic_prefix, "Prefix of Naru's topics there.").ValueName("TEXT");
  }

 protected:
  virtual void AddOwnOptions(Options& options) = 0;
  bool offline() const { return !place_.data_dir.empty() || !place_.kafka_brokers.empty(); }
  absl::StatusOr<std::unique_ptr<OfflineCatalog>> Open() const { return OfflineCatalog::Open(place_); }
  static absl::StatusOr<std::unique_ptr<CatalogService::Stub>> Stub(const Session& session) {
    NARU_ASSIGN_OR_RETURN(const std::shared_ptr<grpc::Channel> channel, Connect(session.connection));
    return CatalogService::NewStub(channel);
  }

 private:
  CatalogPlace place_;
};

class KeyCreateCommand : public KeyCommand {
 protected:
  void AddOwnOptions(Options& options) override {
    options.Add("scopes", &scopes_, "What it may do: publish, read, admin.").ValueName("SCOPE,...");
    options.Add("name", &name_, "What it is for.").ValueName("TEXT");
  }

  absl::StatusOr<int> Run(Session& session) override {
    if (scopes_.empty()) {
      return ErrorWithNext(absl::StatusCode::kInvalidArgument, "USAGE",
                           "say what the key may do: --scopes publish,read,admin", "naru key create --scopes read");
    }
    catalog::v1::CreateApiKeyResponse response;
    if (offline()) {
      NARU_ASSIGN_OR_RETURN(const auto catalog, Open());
      NARU_ASSIGN_OR_RETURN(response, catalog->CreateApiKey(name_, scopes_));
    } else {
      NARU_ASSIGN_OR_RETURN(const auto stub, Stub(session));
      catalog::v1::CreateApiKeyRequest request;
      request.set_display_name(name_);
      for (const std::string& scope : scopes_) request.add_scopes(scope);
      const auto context = UnaryContext(session.connection);
      NARU_RETURN_IF_ERROR(CallStatus(stub->CreateApiKey(context.get(), request, &response), session.connection));
    }
    if (session.format() == OutputFormat::kTable) {
      // Only the key on standard output: KEY=$(naru key create ...).
      std::printf("%s\n", response.key().c_str());
      session.Say(absl::StrCat("key ", response.api_key().id(), " may ",
                               absl::StrJoin(response.api_key().scopes(), ", "), "; it is shown only now"));
      return kDone;
    }
    RowPrinter printer(stdout, session.format(), false, {"key", "id", "name", "scopes"});
    printer.Add({TextCell(response.key()), TextCell(response.api_key().id()),
                 TextCell(response.api_key().display_name()),
                 TextCell(absl::StrJoin(response.api_key().scopes(), ","))});
    return kDone;
  }

 private:
  std::vector<std::string> scopes_;
  std::string name_;
};

class KeyListCommand : public KeyCommand {
 protected:
  void AddOwnOptions(Options&) override {}

  absl::StatusOr<int> Run(Session& session) override {
    catalog::v1::ListApiKeysResponse response;
    if (offline()) {
      NARU_ASSIGN_OR_RETURN(const auto catalog, Open());
      response = catalog->ListApiKeys();
    } else {
      NARU_ASSIGN_OR_RETURN(const auto stub, Stub(session));
      const auto context = UnaryContext(session.connection);
      NARU_RETURN_IF_ERROR(CallStatus(stub->ListApiKeys(context.get(), {}, &response), session.connection));
    }
    RowPrinter printer(stdout, session.format(), session.terminal.colour,
                       {"id", "name", "scopes", "created", "revoked"});
    for (const ApiKey& key : response.api_keys()) {
      printer.Add({TextCell(key.id()), TextCell(key.display_name()), TextCell(absl::StrJoin(key.scopes(), ",")),
                   TextCell(TimeText(key.create_time())),
                   key.has_revoke_time() ? TextCell(TimeText(key.revoke_time())) : NullCell()});
    }
    return kDone;
  }
};

class KeyRevokeCommand : public KeyCommand {
 protected:
  void AddOwnOptions(Options& options) override {
    options.Positional("ID", &ids_, "The part of the key between the underscores; `naru key list` shows it.", 1, 1);
  }

  absl::StatusOr<int> Run(Session& session) override {
    if (offline()) {
      NARU_ASSIGN_OR_RETURN(const auto catalog, Open());
      NARU_RETURN_IF_ERROR(catalog->RevokeApiKey(ids_[0]));
    } else {
      NARU_ASSIGN_OR_RETURN(const auto stub, Stub(session));
      catalog::v1::RevokeApiKeyRequest request;
      request.set_id(ids_[0]);
      ApiKey revoked;
      const auto context = UnaryContext(session.connection);
      NARU_RETURN_IF_ERROR(CallStatus(stub->RevokeApiKey(context.get(), request, &revoked), session.connection));
    }
    session.Say(absl::StrCat("key ", ids_[0], " is useless from now on"));
    return kDone;
  }

 private:
  std::vector<std::string> ids_;
};

}  // namespace

std::unique_ptr<Command> MakeKeyCreateCommand() { return std::make_unique<KeyCreateCommand>(); }
std::unique_ptr<Command> MakeKeyListCommand() { return std::make_unique<KeyListCommand>(); }
std::unique_ptr<Command> MakeKeyRevokeCommand() { return std::make_unique<KeyRevokeCommand>(); }

}  // namespace naru::cli
