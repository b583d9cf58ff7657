// naru apply, diff, get, delete, explain: what a team configures.
#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>

#include <cstdlib>
#include <iostream>
#include <iterator>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/catalog/resource_file.h"
#include "common/catalog/snapshot.h"
#include "common/config/config.h"
#include "common/status/status.h"
#include "naru/catalog/v1/catalog.grpc.pb.h"
#include "services/naru/command.h"
#include "services/naru/json_text.h"
#include "services/naru/packs.h"
#include "services/naru/proto_time.h"
#include "services/naru/resource_text.h"

namespace naru::cli {
namespace {

using catalog::ResourceSet;
using catalog::v1::ApplyResult;
using catalog::v1::CatalogService;
using catalog::v1::Resource;

std::string GetVariable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

// The flags that say which files.
struct FileFlags {
  std::vector<std::string> files;
  std::vector<std::string> packs;

  void AddTo(Options& options) {
    options.Add("file", &files, "A YAML file, a directory of them, or - for standard input; may be repeated.")
        .Short('f')
        .ValueName("PATH");
    options.Add("pack", &packs, "A pack: a name under deploy/packs or a path; may be repeated.").ValueName("NAME|PATH");
  }

  absl::StatusOr<ResourceSet> Load(const std::string& command) const {
    if (files.empty() && packs.empty()) {
      return ErrorWithNext(absl::StatusCode::kInvalidArgument, "USAGE",
                           "say which resources: --file PATH or --pack NAME",
                           absl::StrCat("naru ", command, " --help"));
    }
    std::vector<std::string> paths;
    ResourceSet set;
    for (const std::string& file : files) {
      if (file != "-") paths.push_back(file);
    }
    for (const std::string& pack : packs) {
      NARU_ASSIGN_OR_RETURN(std::string path, FindPack(pack, GetVariable));
      paths.push_back(std::move(path));
    }
    if (paths.size() != files.size() + packs.size()) {
      const std::string text{std::istreambuf_iterator<char>(std::cin), {}};
      set = catalog::LoadText("standard input", text);
    }
    if (!paths.empty()) set.Append(catalog::LoadPaths(paths));
    return set;
  }
};

absl::Status ProblemsError(const std::vector<catalog::FileProblem>& problems) {
  ErrorDetails details;
  details.reason = "INVALID_RESOURCES";
  for (const auto& problem : problems) details.violations.push_back({"", problem.ToString()});
  return MakeError(
      absl::StatusCode::kInvalidArgument,
      absl::StrCat(problems.size(), problems.size() == 1 ? " problem" : " problems", "; nothing was changed"),
      std::move(details));
}

// The server names resources by their place in the request; people know them by file and line.
absl::Status WithPlaces(const absl::Status& status, const ResourceSet& set) {
  const ErrorDetails details = GetErrorDetails(status);
  if (status.code() != absl::StatusCode::kInvalidArgument || details.violations.empty()) return status;
  std::vector<catalog::FileProblem> problems;
  for (const FieldViolation& violation : details.violations) problems.push_back(set.Locate(violation));
  return ProblemsError(problems);
}

// All resources that the server has: what those of a file may refer to, and what they would replace.
absl::StatusOr<std::shared_ptr<const catalog::Snapshot>> ReadCatalog(const Session& session,
                                                                     CatalogService::Stub& stub) {
  catalog::SnapshotBuilder builder;
  catalog::v1::ListResourcesRequest request;
  request.set_page_size(1000);
  catalog::v1::ListResourcesResponse response;
  do {
    const auto context = UnaryContext(session.connection);
    NARU_RETURN_IF_ERROR(CallStatus(stub.ListResources(context.get(), request, &response), session.connection));
    for (const Resource& resource : response.resources()) {
      catalog::v1::CatalogRecord record;
      *record.mutable_resource() = resource;
      builder.Apply(catalog::RecordKey(resource.kind(), resource.metadata().name()), record.SerializeAsString(), false);
    }
    request.set_page_token(response.next_page_token());
  } while (!response.next_page_token().empty());
  return builder.Build();
}

absl::StatusOr<catalog::v1::ApplyResourcesResponse> Apply(const Session& session, CatalogService::Stub& stub,
                                                          const ResourceSet& set, bool dry_run) {
  catalog::v1::ApplyResourcesRequest request;
  for (const Resource& resource : set.Resources()) *request.add_resources() = resource;
  request.set_dry_run(dry_run);
  catalog::v1::ApplyResourcesResponse response;
  const auto context = UnaryContext(session.connection);
  const absl::Status status = CallStatus(stub.ApplyResources(context.get(), request, &response), session.connection);
  if (!status.ok()) return WithPlaces(status, set);
  return response;
}

absl::StatusOr<std::optional<Resource>> Get(const Session& session, CatalogService::Stub& stub, const std::string& kind,
                                            const std::string& name) {
  catalog::v1::GetResourceRequest request;
  request.set_kind(kind);
  request.set_name(name);
  Resource resource;
  const auto context = UnaryContext(session.connection);
  const grpc::Status status = stub.GetResource(context.get(), request, &resource);
  if (status.error_code() == grpc::StatusCode::NOT_FOUND) return std::optional<Resource>();
  NARU_RETURN_IF_ERROR(CallStatus(status, session.connection));
  return std::optional<Resource>(std::move(resource));
}

const char* ActionWord(ApplyResult::Action action) {
  switch (action) {
    case ApplyResult::CREATED:
      return "created";
    case ApplyResult::UPDATED:
      return "updated";
    default:
      return "unchanged";
  }
}

class ApplyCommand : public Command {
 public:
  void AddOptions(Options& options) override {
    files_.AddTo(options);
    options.Add("dry_run", &dry_run_, "Check everything and say what would happen, change nothing.");
  }

  absl::StatusOr<int> Run(Session& session) override {
    NARU_ASSIGN_OR_RETURN(ResourceSet set, files_.Load("apply"));
    if (!set.problems.empty()) return ProblemsError(set.problems);
    NARU_ASSIGN_OR_RETURN(const std::shared_ptr<grpc::Channel> channel, Connect(session.connection));
    const auto stub = CatalogService::NewStub(channel);
    if (session.runners != nullptr) {
      // The server of the catalog need not know every kind: an ingest on its own compiles no metrics.
      NARU_ASSIGN_OR_RETURN(const auto snapshot, ReadCatalog(session, *stub));
      catalog::CheckAgainst(*snapshot, session.runners, &set);
      if (!set.problems.empty()) return ProblemsError(set.problems);
    }
    NARU_ASSIGN_OR_RETURN(const auto response, Apply(session, *stub, set, dry_run_));
    RowPrinter printer(stdout, session.format(), session.terminal.colour, {"kind", "name", "action", "version"});
    int changed = 0;
    for (const ApplyResult& result : response.results()) {
      const bool same = result.action() == ApplyResult::UNCHANGED;
      changed += !same;
      printer.Add({TextCell(result.resource().kind()), TextCell(result.resource().metadata().name()),
                   TextCell(ActionWord(result.action()), same ? Colour::kDim : Colour::kGreen),
                   NumberCell(int64_t{result.resource().metadata().version()})});
    }
    printer.Finish();
    session.Say(
        absl::StrCat(response.results_size(), " resources, ", changed, dry_run_ ? " would change" : " changed"));
    return kDone;
  }

 private:
  FileFlags files_;
  bool dry_run_ = false;
};

class DiffCommand : public Command {
 public:
  void AddOptions(Options& options) override { files_.AddTo(options); }

  // As `diff`: 0 = the same, 1 = differs, others = trouble.
  absl::StatusOr<int> Run(Session& session) override {
    NARU_ASSIGN_OR_RETURN(const ResourceSet set, files_.Load("diff"));
    if (!set.problems.empty()) return ProblemsError(set.problems);
    NARU_ASSIGN_OR_RETURN(const std::shared_ptr<grpc::Channel> channel, Connect(session.connection));
    const auto stub = CatalogService::NewStub(channel);
    RowPrinter printer(stdout, session.format(), session.terminal.colour, {"kind", "name", "field", "before", "after"});
    bool differs = false;
    for (const catalog::LoadedResource& loaded : set.resources) {
      const Resource& wanted = *loaded.resource;
      const std::string& name = wanted.metadata().name();
      NARU_ASSIGN_OR_RETURN(const std::optional<Resource> stored, Get(session, *stub, wanted.kind(), name));
      if (!stored.has_value()) {
        differs = true;
        printer.Add(
            {TextCell(wanted.kind()), TextCell(name), TextCell("(all)"), NullCell(), TextCell("new", Colour::kGreen)});
        continue;
      }
      for (const catalog::Difference& difference : catalog::Diff(*stored, wanted)) {
        differs = true;
        const auto side = [](const std::string& text, Colour colour) {
          return text.empty() ? NullCell() : TextCell(text, colour);
        };
        printer.Add({TextCell(wanted.kind()), TextCell(name), TextCell(difference.field),
                     side(difference.before, Colour::kRed), side(difference.after, Colour::kGreen)});
      }
    }
    printer.Finish();
    return differs ? kFailed : kDone;
  }

 private:
  FileFlags files_;
};

class GetCommand : public Command {
 public:
  void AddOptions(Options& options) override {
    options.Positional("KIND [NAME]", &words_,
                       "EventType, InputFormat, Metric, Sink, Source; no name: all of that kind; nothing: all.", 0, 2);
    options.Add("yaml", &yaml_, "Print whole resources as YAML that apply takes back (one alone always is).");
  }

  absl::StatusOr<int> Run(Session& session) override {
    NARU_ASSIGN_OR_RETURN(const std::shared_ptr<grpc::Channel> channel, Connect(session.connection));
    const auto stub = CatalogService::NewStub(channel);
    if (words_.size() == 2) return GetOne(session, *stub);
    catalog::v1::ListResourcesRequest request;
    if (!words_.empty()) request.set_kind(words_[0]);
    request.set_page_size(1000);
    catalog::v1::ListResourcesResponse response;
    RowPrinter printer(stdout, session.format(), session.terminal.colour,
                       {"kind", "name", "version", "updated", "description"});
    do {
      const auto context = UnaryContext(session.connection);
      NARU_RETURN_IF_ERROR(CallStatus(stub->ListResources(context.get(), request, &response), session.connection));
      for (const Resource& resource : response.resources()) Print(session, resource, printer);
      request.set_page_token(response.next_page_token());
    } while (!response.next_page_token().empty());
    return kDone;
  }

 private:
  absl::StatusOr<int> GetOne(const Session& session, CatalogService::Stub& stub) {
    catalog::v1::GetResourceRequest request;
    request.set_kind(words_[0]);
    request.set_name(words_[1]);
    Resource resource;
    const auto context = UnaryContext(session.connection);
    NARU_RETURN_IF_ERROR(CallStatus(stub.GetResource(context.get(), request, &resource), session.connection));
    if (IsJson(session.format())) {
      std::printf("%s\n", ResourceJson(resource).c_str());
    } else {
      std::fputs(catalog::ToYaml(resource, true).c_str(), stdout);
    }
    return kDone;
  }

  void Print(const Session& session, const Resource& resource, RowPrinter& printer) const {
    if (yaml_) {
      std::printf("---\n%s", catalog::ToYaml(resource).c_str());
    } else if (IsJson(session.format())) {
      printer.Add({}, ResourceJson(resource));
    } else {
      printer.Add({TextCell(resource.kind()), TextCell(resource.metadata().name()),
                   NumberCell(int64_t{resource.metadata().version()}),
                   TextCell(TimeText(resource.metadata().update_time())), TextCell(DescriptionOf(resource))});
    }
  }

  std::vector<std::string> words_;
  bool yaml_ = false;
};

class DeleteCommand : public Command {
 public:
  void AddOptions(Options& options) override {
    options.Positional("KIND NAME", &words_, "Which resource.", 2, 2);
    options.Add("etag", &etag_, "Delete only if this is still its etag.").ValueName("TEXT");
  }

  absl::StatusOr<int> Run(Session& session) override {
    NARU_ASSIGN_OR_RETURN(const std::shared_ptr<grpc::Channel> channel, Connect(session.connection));
    const auto stub = CatalogService::NewStub(channel);
    catalog::v1::DeleteResourceRequest request;
    request.set_kind(words_[0]);
    request.set_name(words_[1]);
    request.set_etag(etag_);
    Resource deleted;
    const auto context = UnaryContext(session.connection);
    NARU_RETURN_IF_ERROR(CallStatus(stub->DeleteResource(context.get(), request, &deleted), session.connection));
    session.Say(absl::StrCat("deleted ", words_[0], " ", words_[1]));
    return kDone;
  }

 private:
  std::vector<std::string> words_;
  std::string etag_;
};

class ExplainCommand : public Command {
 public:
  void AddOptions(Options& options) override {
    options.Positional("KIND[.FIELD]", &words_, "What to explain: Metric, Metric.window, EventType.schema.properties.",
                       1, 1);
  }
  absl::StatusOr<int> Run(Session&) override {
    NARU_ASSIGN_OR_RETURN(const std::string text, catalog::Explain(words_[0]));
    std::fputs(text.c_str(), stdout);
    return kDone;
  }

 private:
  std::vector<std::string> words_;
};

}  // namespace

std::unique_ptr<Command> MakeApplyCommand() { return std::make_unique<ApplyCommand>(); }
std::unique_ptr<Command> MakeDiffCommand() { return std::make_unique<DiffCommand>(); }
std::unique_ptr<Command> MakeGetCommand() { return std::make_unique<GetCommand>(); }
std::unique_ptr<Command> MakeDeleteCommand() { return std::make_unique<DeleteCommand>(); }
std::unique_ptr<Command> MakeExplainCommand() { return std::make_unique<ExplainCommand>(); }

}  // namespace naru::cli
