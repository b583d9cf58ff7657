// Commands against servers that answer as the services promise.
#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/catalog/test_runners.h"
#include "common/status/grpc_status.h"
#include "common/status/status.h"
#include "common/testing/testing.h"
#include "naru/aggregator/v1/aggregator.grpc.pb.h"
#include "naru/catalog/v1/catalog.grpc.pb.h"
#include "naru/ingest/v1/ingest.grpc.pb.h"
#include "services/naru/app.h"

namespace naru::cli {
namespace {

using ::naru::testing::TempDir;
using ::testing::HasSubstr;
using ::testing::Not;

// Accepts what it gets, but for `id: bad` (rejected) and `id: again` (duplicate).
class FakeIngest : public ingest::v1::IngestService::Service {
 public:
  grpc::Status StreamEvents(
      grpc::ServerContext*,
      grpc::ServerReaderWriter<ingest::v1::PublishEventsResponse, ingest::v1::PublishEventsRequest>* stream) override {
    ingest::v1::PublishEventsRequest request;
    while (stream->Read(&request)) {
      ingest::v1::PublishEventsResponse response;
      response.set_received_count(request.events_size());
      int accepted = request.events_size();
      for (int i = 0; i < request.events_size(); ++i) {
        published.push_back(request.events(i));
        const std::string& id = request.events(i).id();
        if (id != "bad" && id != "again") continue;
        --accepted;
        auto* result = response.add_not_accepted();
        result->set_index(i);
        result->set_duplicate(id == "again");
        if (id == "again") response.set_duplicate_count(response.duplicate_count() + 1);
        if (id != "bad") continue;
        result->set_reason(ingest::v1::FIELD_KIND);
        result->set_field("data.user_age");
        result->set_value("x\x1b[2J");
        result->set_expected("an integer from 0 to 150");
        response.set_rejected_count(response.rejected_count() + 1);
      }
      response.set_accepted_count(accepted);
      stream->Write(response);
    }
    return end_of_stream;
  }

  grpc::Status ImportEvents(
      grpc::ServerContext*,
      grpc::ServerReaderWriter<ingest::v1::ImportEventsResponse, ingest::v1::ImportEventsRequest>* stream) override {
    ingest::v1::ImportEventsRequest request;
    stream->Read(&request);
    start = request.start();
    std::string bytes;
    ended = false;
    while (stream->Read(&request)) {
      bytes += request.chunk();
      ended |= request.has_end();
    }
    if (!ended) return grpc::Status(grpc::StatusCode::INVALID_ARGUMENT, "the last message must be `end`");
    if (start.format() == "missing") {
      return ToGrpcStatus(
          MakeError(absl::StatusCode::kNotFound, "FORMAT_NOT_FOUND", "there is no InputFormat `missing`"),
          "ingest.naru.dev");
    }
    const std::vector<std::string> lines = absl::StrSplit(bytes, '\n', absl::SkipEmpty());
    ingest::v1::ImportEventsResponse response;
    response.set_read_count(static_cast<int64_t>(lines.size()));
    response.set_received_bytes(static_cast<int64_t>(bytes.size()));
    for (size_t i = 0; i < lines.size(); ++i) {
      if (lines[i] != "bad") continue;
      response.set_rejected_count(response.rejected_count() + 1);
      auto* rejected = response.add_rejected_lines();
      rejected->set_line_number(static_cast<int64_t>(i) + 1);
      rejected->set_reason(ingest::v1::PARSE);
      rejected->set_line(lines[i]);
    }
    response.set_accepted_count(response.read_count() - response.rejected_count());
    response.set_done(true);
    stream->Write(response);
    return grpc::Status::OK;
  }

  grpc::Status ReadEvents(grpc::ServerContext*, const ingest::v1::ReadEventsRequest* request,
                          grpc::ServerWriter<ingest::v1::ReadEventsResponse>* writer) override {
    read_request = *request;
    ingest::v1::ReadEventsResponse response;
    auto* stored = response.add_events();
    stored->set_partition(2);
    stored->set_offset(41);
    auto* event = stored->mutable_event();
    event->set_id("1");
    event->set_source("shop");
    event->set_type("UserLogin");
    event->mutable_time()->set_seconds(1'667'260'800);
    (*event->mutable_data()->mutable_fields())["이름"].set_string_value("생수\n");
    writer->Write(response);
    return grpc::Status::OK;
  }

  std::vector<event::v1::Event> published;
  ingest::v1::ImportStart start;
  bool ended = false;  // the last import said that it was whole
  ingest::v1::ReadEventsRequest read_request;
  grpc::Status end_of_stream;
};

class FakeAggregator : public aggregator::v1::AggregatorService::Service {
 public:
  grpc::Status QueryWindows(grpc::ServerContext*, const aggregator::v1::QueryWindowsRequest* asked,
                            aggregator::v1::QueryWindowsResponse* response) override {
    request = *asked;
    if (asked->metric() != "requests") {
      return ToGrpcStatus(MakeError(absl::StatusCode::kNotFound, "METRIC_NOT_FOUND", "there is no metric"),
                          "aggregator.naru.dev");
    }
    // Two pages of a row each.
    const bool second = asked->page_token() == "2";
    if (!second) response->set_next_page_token("2");
    auto* row = response->add_rows();
    row->mutable_window_start_time()->set_seconds(1'431'856'800 + (second ? 3600 : 0));
    row->mutable_window_end_time()->set_seconds(1'431'860'400 + (second ? 3600 : 0));
    (*row->mutable_group())["status_class"].set_number_value(2);
    (*row->mutable_group())["host"].set_null_value({});
    auto& measures = *row->mutable_measures();
    measures["requests"].set_integer(9'007'199'254'740'993);
    measures["users"].set_number(12.5);
    measures["users"].set_relative_error(0.008);
    measures["nothing"];
    measures["fresh"].set_boolean(true);
    for (const double bound : {10.0, 99.5}) measures["spans"].mutable_histogram()->add_bounds(bound);
    for (const int count : {3, 2000, 0}) measures["spans"].mutable_histogram()->add_counts(count);
    auto* item = measures["words"].mutable_top()->add_items();
    item->mutable_key()->set_string_value("생수");
    item->set_count(3);
    row->set_final(true);
    row->set_revision(1);
    return grpc::Status::OK;
  }
  grpc::Status QuerySessions(grpc::ServerContext*, const aggregator::v1::QuerySessionsRequest* asked,
                             aggregator::v1::QuerySessionsResponse* response) override {
    session_request = *asked;
    const bool second = asked->page_token() == "2";
    if (!second) response->set_next_page_token("2");
    auto* session = response->add_sessions();
    session->set_entity(second ? "m2" : "m1");
    session->mutable_start_time()->set_seconds(1'431'856'800);
    session->mutable_end_time()->set_seconds(1'431'856'860);
    session->set_event_count(2);
    session->set_duration_ms(60'000);
    (*session->mutable_entry()->mutable_fields())["type"].set_string_value("view");
    (*session->mutable_exit()->mutable_fields())["type"].set_string_value("buy");
    session->set_running(second);
    session->set_counted(!second);
    return grpc::Status::OK;
  }

  grpc::Status ExplainWindow(grpc::ServerContext*, const aggregator::v1::ExplainWindowRequest* asked,
                             aggregator::v1::ExplainWindowResponse* response) override {
    explain_request = *asked;
    response->set_metric("requests");
    response->set_metric_version(3);
    response->set_state("RUNNING");
    response->set_group_count(2);
    response->mutable_row()->mutable_window_start_time()->set_seconds(1'431'856'800);
    response->mutable_row()->mutable_window_end_time()->set_seconds(1'431'860'400);
    (*response->mutable_row()->mutable_measures())["requests"].set_integer(1234);
    auto* partial = response->add_partials();
    partial->set_partition(1);
    partial->mutable_pane_start_time()->set_seconds(1'431'856'800);
    partial->mutable_pane_end_time()->set_seconds(1'431'857'100);
    partial->set_group_count(2);
    partial->set_pane_group_count(5);
    partial->set_offset(77);
    (*partial->mutable_measures())["requests"].set_integer(1234);
    auto* partition = response->add_partitions();
    partition->set_partition(1);
    partition->mutable_frontier_time()->set_seconds(1'431'857'000);
    partition->set_late_count(6);
    auto* timeline = partition->add_timelines();
    timeline->set_timeline("import-1");
    timeline->set_state("OPEN");
    timeline->mutable_watermark_time()->set_seconds(1'431'857'000);
    return grpc::Status::OK;
  }

  grpc::Status ListLateEvents(grpc::ServerContext*, const aggregator::v1::ListLateEventsRequest*,
                              aggregator::v1::ListLateEventsResponse* response) override {
    auto* late = response->add_events();
    late->set_name("1/5");
    late->set_replayed(true);
    late->mutable_event()->set_id("7");
    late->mutable_event()->set_type("UserLogin");
    late->mutable_event()->mutable_time()->set_seconds(1'431'856'800);
    late->mutable_event()->mutable_lateness()->mutable_timeline_time()->set_seconds(1'431'860'400);
    return grpc::Status::OK;
  }

  grpc::Status ReplayLateEvents(grpc::ServerContext*, const aggregator::v1::ReplayLateEventsRequest* asked,
                                aggregator::v1::ReplayLateEventsResponse* response) override {
    replay_request = *asked;
    response->set_read_count(3);
    response->set_replayed_count(2);
    response->set_duplicate_count(1);
    return grpc::Status::OK;
  }

  aggregator::v1::QuerySessionsRequest session_request;
  aggregator::v1::QueryWindowsRequest request;
  aggregator::v1::ExplainWindowRequest explain_request;
  aggregator::v1::ReplayLateEventsRequest replay_request;

  grpc::Status ListSinks(grpc::ServerContext*, const aggregator::v1::ListSinksRequest*,
                         aggregator::v1::ListSinksResponse* response) override {
    *response->add_sinks() = sink;
    return grpc::Status::OK;
  }
  grpc::Status PauseSink(grpc::ServerContext*, const aggregator::v1::PauseSinkRequest* asked,
                         aggregator::v1::SinkStatus* status) override {
    return Change(asked->name(), "paused", status);
  }
  grpc::Status ResumeSink(grpc::ServerContext*, const aggregator::v1::ResumeSinkRequest* asked,
                          aggregator::v1::SinkStatus* status) override {
    return Change(asked->name(), "resumed", status);
  }
  grpc::Status ResyncSink(grpc::ServerContext*, const aggregator::v1::ResyncSinkRequest* asked,
                          aggregator::v1::SinkStatus* status) override {
    return Change(asked->name(), "resynced", status);
  }

  aggregator::v1::SinkStatus sink;
  std::string changed;

 private:
  grpc::Status Change(const std::string& name, const std::string& what, aggregator::v1::SinkStatus* status) {
    if (name != sink.name()) {
      return ToGrpcStatus(MakeError(absl::StatusCode::kNotFound, "SINK_NOT_FOUND", "there is no sink"),
                          "aggregator.naru.dev");
    }
    changed = what;
    *status = sink;
    return grpc::Status::OK;
  }
};

// Has one event type, and notes what it is asked to apply.
class FakeCatalog : public catalog::v1::CatalogService::Service {
 public:
  grpc::Status ListResources(grpc::ServerContext*, const catalog::v1::ListResourcesRequest*,
                             catalog::v1::ListResourcesResponse* response) override {
    auto* type = response->add_resources();
    type->set_api_version("naru.dev/v1");
    type->set_kind("EventType");
    type->mutable_metadata()->set_name("Login");
    (*type->mutable_event_type()->mutable_schema()->mutable_properties())["age"].set_type("integer");
    return grpc::Status::OK;
  }
  grpc::Status ApplyResources(grpc::ServerContext*, const catalog::v1::ApplyResourcesRequest* request,
                              catalog::v1::ApplyResourcesResponse* response) override {
    for (const auto& resource : request->resources()) {
      applied.push_back(resource.metadata().name());
      auto* result = response->add_results();
      *result->mutable_resource() = resource;
      result->set_action(catalog::v1::ApplyResult::CREATED);
    }
    return grpc::Status::OK;
  }
  std::vector<std::string> applied;
};

class CommandTest : public ::testing::Test {
 protected:
  CommandTest() {
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(&ingest_);
    builder.RegisterService(&aggregator_);
    builder.RegisterService(&catalog_);
    server_ = builder.BuildAndStart();
    address_ = absl::StrCat("127.0.0.1:", port);
    setenv("NARU_CONTEXTS_FILE", dir_.File("contexts.yaml").c_str(), 1);
    unsetenv("NARU_ADDRESS");
  }
  ~CommandTest() override { server_->Shutdown(); }

  // Runs `naru ARGS`; against the fake servers where no address is given.
  int Naru(std::vector<std::string> args, bool with_address = true) {
    if (with_address) args.insert(args.end(), {"--address", address_});
    std::vector<const char*> argv = {"naru"};
    for (const std::string& arg : args) argv.push_back(arg.c_str());
    ::testing::internal::CaptureStdout();
    ::testing::internal::CaptureStderr();
    const int exit_code = RunProgram(static_cast<int>(argv.size()), argv.data(), ClientCommands(), runners_);
    out_ = ::testing::internal::GetCapturedStdout();
    err_ = ::testing::internal::GetCapturedStderr();
    return exit_code;
  }

  TempDir dir_;
  FakeIngest ingest_;
  FakeAggregator aggregator_;
  FakeCatalog catalog_;
  const catalog::TestRunners* runners_ = nullptr;
  std::unique_ptr<grpc::Server> server_;
  std::string address_;
  std::string out_;
  std::string err_;
};

TEST_F(CommandTest, HelpNamesEveryCommandAndEachHasExamples) {
  EXPECT_EQ(Naru({"--help"}, false), 0);
  const std::string help = out_;
  for (const CommandEntry& entry : ClientCommands()) {
    EXPECT_THAT(help, HasSubstr(entry.name));
    std::vector<std::string> args = absl::StrSplit(entry.name, ' ');
    args.push_back("--help");
    EXPECT_EQ(Naru(args, false), 0) << entry.name;
    EXPECT_THAT(out_, HasSubstr("Examples:")) << entry.name;
    EXPECT_THAT(out_, HasSubstr("--address")) << entry.name;
    EXPECT_EQ(err_, "");
  }
}

TEST_F(CommandTest, ApplyRunsTheTestsItselfAndSendsNothingWhenOneFails) {
  // The checks see what the server has, beside what is in the files.
  catalog::TestRunners runners;
  runners.RegisterCheck("Metric", [](const catalog::v1::Resource&, const catalog::ResourceLookup& lookup) {
    EXPECT_NE(lookup("EventType", "Login"), nullptr);
    EXPECT_EQ(lookup("EventType", "Logout"), nullptr);
    return std::vector<FieldViolation>();
  });
  bool fail = true;
  runners.Register("Metric", [&](const catalog::v1::Resource&, const catalog::ResourceLookup&) {
    return fail ? std::vector<FieldViolation>{{"tests[0].rows[0]", "expected 2, came out: 1"}}
                : std::vector<FieldViolation>();
  });
  runners_ = &runners;
  const std::string file = dir_.Write("metric.yaml", R"(apiVersion: naru.dev/v1
kind: Metric
metadata: {name: logins}
spec:
  window: {type: tumbling, size: 1h}
  measures: [{name: logins, agg: count}]
tests:
  - events: []
    rows:
      - {measures: {logins: 2}}
)");
  EXPECT_EQ(Naru({"apply", "-f", file}), kUsage);
  EXPECT_THAT(err_, HasSubstr("metric.yaml:10:9: tests[0].rows[0]: expected 2, came out: 1"));
  EXPECT_TRUE(catalog_.applied.empty());
  fail = false;
  EXPECT_EQ(Naru({"apply", "-f", file}), kDone);
  EXPECT_EQ(catalog_.applied, std::vector<std::string>{"logins"});
}

TEST_F(CommandTest, WrongUsageEndsWithTwoAndSaysWhatToType) {
  EXPECT_EQ(Naru({}, false), 2);
  EXPECT_EQ(Naru({"imprt"}, false), 2);
  EXPECT_THAT(err_, HasSubstr("naru import --help"));
  EXPECT_EQ(Naru({"dlq"}, false), 2);
  EXPECT_EQ(Naru({"dlq", "lst"}, false), 2);
  EXPECT_THAT(err_, HasSubstr("naru dlq list"));
  EXPECT_EQ(Naru({"query"}), 2);
  EXPECT_EQ(Naru({"query", "requests", "--no_such_flag"}), 2);
  EXPECT_EQ(Naru({"query", "requests", "--from", "soon"}), 2);
  EXPECT_THAT(err_, HasSubstr("--from"));
  EXPECT_EQ(Naru({"query", "requests", "--output", "xml"}), 2);
  EXPECT_EQ(Naru({"import", dir_.File("none"), "--format", "ndjson"}), 2);
  EXPECT_EQ(Naru({"publish"}), 2);
  EXPECT_EQ(Naru({"simulate", "--pack", "mars"}), 2);
  EXPECT_EQ(Naru({"simulate", "--rate", "-3"}), 2);
  EXPECT_EQ(out_, "");
}

TEST_F(CommandTest, SinksAreListedPausedAndFilledAgain) {
  aggregator_.sink.set_name("hot-redis");
  aggregator_.sink.set_type("redis");
  aggregator_.sink.set_target("redis:6379/0 ciao");
  auto* metric = aggregator_.sink.add_metrics();
  metric->set_metric("hot-activity");
  metric->set_state("WAITING");
  metric->set_message("Redis at redis:6379: cannot connect");
  metric->set_lag(12);
  metric->set_lag_seconds(90);
  EXPECT_EQ(Naru({"sink", "list"}), 0);
  EXPECT_THAT(out_, HasSubstr("hot-activity"));
  EXPECT_THAT(out_, HasSubstr("1m30s"));
  EXPECT_THAT(out_, HasSubstr("cannot connect"));
  EXPECT_EQ(Naru({"sink", "list", "--output", "json"}), 0);
  EXPECT_THAT(out_, HasSubstr(R"("state":"WAITING","lag":12,"behind":90,)"));
  for (const auto& [command, what] : {std::pair("pause", "paused"), {"resume", "resumed"}, {"resync", "resynced"}}) {
    EXPECT_EQ(Naru({"sink", command, "hot-redis"}), 0) << err_;
    EXPECT_EQ(aggregator_.changed, what);
    EXPECT_THAT(err_, HasSubstr("hot-redis"));
    EXPECT_NE(Naru({"sink", command, "hot"}), 0);
    EXPECT_EQ(Naru({"sink", command}), 2);
  }
}

TEST_F(CommandTest, AServerThatIsNotThereEndsWithFive) {
  server_->Shutdown();
  EXPECT_EQ(Naru({"query", "requests"}), 5);
  EXPECT_THAT(err_, HasSubstr("naru up"));
  EXPECT_THAT(err_, HasSubstr(address_));
  EXPECT_EQ(Naru({"status"}), 5);
  EXPECT_EQ(Naru({"publish", "--type", "A"}), 5);
  EXPECT_EQ(Naru({"tail"}), 5);
  EXPECT_EQ(Naru({"import", dir_.Write("a", "x\n"), "--format", "ndjson"}), 5);
  EXPECT_EQ(Naru({"top", "--once"}), 5);
}

TEST_F(CommandTest, QueryPrintsALineARow) {
  EXPECT_EQ(Naru({"query", "requests", "--from", "2015-05-17", "--group-by=status_class,host", "--where",
                  "status_class == 2", "--output", "json"}),
            0)
      << err_;
  const std::vector<std::string> lines = absl::StrSplit(out_, '\n', absl::SkipEmpty());
  ASSERT_EQ(lines.size(), 2) << "all pages are read";
  EXPECT_EQ(
      lines[0],
      R"({"window_start":"2015-05-17T10:00:00Z","window_end":"2015-05-17T11:00:00Z","group":{"host":null,"status_class":2},)"
      R"("measures":{"fresh":true,"nothing":null,"requests":9007199254740993,"spans":{"bounds":[10,99.5],"counts":[3,2000,0]},"users":12.5,"words":[{"key":"생수","count":3}]},)"
      R"("final":true,"revision":1,"relative_error":{"users":0.008}})");
  EXPECT_EQ(aggregator_.request.filter(), "status_class == 2");
  EXPECT_EQ(aggregator_.request.group_by_size(), 2) << "--group-by is --group_by";
  EXPECT_EQ(aggregator_.request.from_time().seconds(), 1'431'820'800);
  EXPECT_EQ(err_, "");
}

TEST_F(CommandTest, QueryPrintsTablesAndCsv) {
  EXPECT_EQ(Naru({"query", "requests", "--time_zone", "Asia/Seoul", "--limit", "1"}), 0);
  EXPECT_THAT(out_, HasSubstr("2015-05-17 19:00:00"));
  EXPECT_THAT(out_, HasSubstr("9,007,199,254,740,993"));
  EXPECT_THAT(out_, HasSubstr("생수 3"));
  EXPECT_THAT(out_, HasSubstr("<=10: 3, <=99.5: 2,000, >99.5: 0"));
  EXPECT_THAT(out_, Not(HasSubstr("\x1b"))) << "no colour off a terminal";
  EXPECT_EQ(aggregator_.request.page_size(), 1);
  EXPECT_EQ(Naru({"query", "requests", "--output", "csv", "--limit", "1"}), 0);
  EXPECT_THAT(out_,
              HasSubstr("window_start,window_end,host,status_class,fresh,nothing,requests,spans,users,words,final,"
                        "revision\n2015-05-17T10:00:00Z,2015-05-17T11:00:00Z,,2,true,,9007199254740993,"
                        "\"{\"\"bounds\"\":[10,99.5],\"\"counts\"\":[3,2000,0]}\",12.5,"));
}

TEST_F(CommandTest, QuerySendsSizesAndRowFilters) {
  EXPECT_EQ(Naru({"query", "requests", "--by", "1d", "--having", "requests > 5", "--limit", "1"}), 0) << err_;
  EXPECT_EQ(aggregator_.request.window_size(), "1d");
  EXPECT_EQ(aggregator_.request.row_filter(), "requests > 5");
}

TEST_F(CommandTest, WhySaysWhatANumberIsMadeOfAndWhatHoldsItBack) {
  EXPECT_EQ(Naru({"why", "requests", "2015-05-17T10:00:00Z", "host=a.example,status_class=2"}), 0) << err_;
  EXPECT_EQ(aggregator_.explain_request.filter(), "host == \"a.example\" && status_class == 2");
  EXPECT_EQ(aggregator_.explain_request.window_start_time().seconds(), 1'431'856'800);
  EXPECT_THAT(out_, HasSubstr("requests, version 3, RUNNING"));
  EXPECT_THAT(out_, HasSubstr("running, partition 1 is at 2015-05-17 10:03:20 (import-1)"));
  EXPECT_THAT(out_, HasSubstr("import-1 OPEN"));
  EXPECT_THAT(out_, HasSubstr("1,234"));
  EXPECT_EQ(Naru({"why", "requests", "latest", "status_class > 2", "--output", "json"}), 0) << err_;
  EXPECT_EQ(aggregator_.explain_request.filter(), "status_class > 2");
  EXPECT_FALSE(aggregator_.explain_request.has_window_start_time());
  EXPECT_THAT(out_, HasSubstr(R"("measures":{"requests":1234}}],"omitted_partials":0})"));
  EXPECT_THAT(out_, HasSubstr(R"("late":6)"));
  EXPECT_EQ(Naru({"why"}), 2);
  EXPECT_EQ(Naru({"why", "requests", "soon"}), 2);
}

TEST_F(CommandTest, LateEventsAreListedAndReplayed) {
  EXPECT_EQ(Naru({"late", "list", "requests"}), 0) << err_;
  EXPECT_THAT(out_, HasSubstr("1/5"));
  EXPECT_THAT(out_, HasSubstr("2015-05-17T11:00:00Z"));
  EXPECT_EQ(Naru({"late", "list", "requests", "--output", "json"}), 0);
  EXPECT_THAT(out_, HasSubstr(R"({"name":"1/5","replayed":true,"timeline_time":"2015-05-17T11:00:00Z","event":{)"));
  EXPECT_EQ(Naru({"late", "replay", "requests"}), 2);
  EXPECT_THAT(err_, HasSubstr("naru late list requests"));
  EXPECT_EQ(Naru({"late", "replay", "requests", "1/5", "--dry_run", "--output", "json"}), 0) << err_;
  EXPECT_EQ(out_, "{\"read\":3,\"replayed\":2,\"duplicate\":1,\"skipped\":0}\n");
  EXPECT_EQ(aggregator_.replay_request.names(0), "1/5");
  EXPECT_TRUE(aggregator_.replay_request.dry_run());
  EXPECT_EQ(Naru({"late", "replay", "requests", "--all"}), 0);
  EXPECT_EQ(aggregator_.replay_request.names_size(), 0);
}

TEST_F(CommandTest, SessionsPrintsALineASession) {
  EXPECT_EQ(Naru({"sessions", "visits", "--entity", "m1", "--from", "2015-05-17", "--output", "json"}), 0) << err_;
  const std::vector<std::string> lines = absl::StrSplit(out_, '\n', absl::SkipEmpty());
  ASSERT_EQ(lines.size(), 2) << "all pages are read";
  EXPECT_EQ(lines[0], R"({"start":"2015-05-17T10:00:00Z","end":"2015-05-17T10:01:00Z","entity":"m1","events":2,)"
                      R"("duration_ms":60000,"bounce":false,"state":"counted","entry":{"type":"view"},)"
                      R"("exit":{"type":"buy"},"late_events":0})");
  EXPECT_THAT(lines[1], HasSubstr(R"("state":"running")"));
  EXPECT_EQ(aggregator_.session_request.metric(), "visits");
  EXPECT_EQ(aggregator_.session_request.entity(), "m1");
  EXPECT_EQ(aggregator_.session_request.from_time().seconds(), 1'431'820'800);
  EXPECT_EQ(Naru({"sessions", "visits", "--limit", "1", "--time_zone", "Asia/Seoul"}), 0);
  EXPECT_THAT(out_, HasSubstr("2015-05-17 19:00:00"));
  EXPECT_EQ(Naru({"sessions"}), 2);
}

TEST_F(CommandTest, AnUnknownMetricSaysHowToListThem) {
  EXPECT_EQ(Naru({"query", "nothing"}), 2);
  EXPECT_THAT(err_, HasSubstr("naru get Metric"));
}

TEST_F(CommandTest, ImportEndsWithTheTotalsOfAllFiles) {
  const std::string first = dir_.Write("logs/1.log", "a\nbad\nc\n");
  dir_.Write("logs/2.log", "d\n");
  EXPECT_EQ(Naru({"import", dir_.File("logs"), "--format", "lines", "--source", "shop", "--output", "json"}), 0)
      << err_;
  EXPECT_EQ(out_,
            "{\"read\":4,\"accepted\":3,\"duplicate\":0,\"rejected\":1,\"filtered\":0,\"files\":2,\"bytes\":10}\n");
  EXPECT_THAT(err_, HasSubstr("1.log:2: rejected, PARSE"));
  EXPECT_EQ(ingest_.start.format(), "lines");
  EXPECT_EQ(ingest_.start.source(), "shop");
  EXPECT_EQ(Naru({"import", first, "--format", "lines", "--strict", "--output", "json"}), 3);
  EXPECT_THAT(out_, HasSubstr("\"rejected\":1"));
  EXPECT_EQ(Naru({"import", dir_.File("logs/2.log"), "--format", "lines", "--strict"}), 0);
}

TEST_F(CommandTest, AFileThatCannotBeReadToItsEndIsNotSaidToBeWhole) {
  // The memory of a process opens as a file, and there is nothing to read at its beginning.
  EXPECT_NE(Naru({"import", "/proc/self/mem", "--format", "lines"}), 0);
  EXPECT_THAT(err_, HasSubstr("/proc/self/mem: Input/output error"));
  server_->Shutdown();
  EXPECT_FALSE(ingest_.ended);
}

TEST_F(CommandTest, AnUnknownFormatIsWrongInput) {
  EXPECT_EQ(Naru({"import", dir_.Write("a.log", std::string(3'000'000, 'x')), "--format", "missing"}), 2);
  EXPECT_THAT(err_, HasSubstr("there is no InputFormat `missing`"));
  EXPECT_EQ(out_, "");
}

TEST_F(CommandTest, PublishSendsOneEventFromFlags) {
  EXPECT_EQ(Naru({"publish", "--type", "UserLogin", "--subject", "m1", "--id", "7", "--time",
                  "2022-11-01T09:00:00+09:00", "--data", R"({"user_age":27})", "--output", "json"}),
            0)
      << err_;
  EXPECT_EQ(out_, "{\"received\":1,\"accepted\":1,\"duplicate\":0,\"rejected\":0,\"filtered\":0}\n");
  ASSERT_EQ(ingest_.published.size(), 1);
  EXPECT_EQ(ingest_.published[0].source(), "naru-cli");
  EXPECT_EQ(ingest_.published[0].time().seconds(), 1'667'260'800);
  EXPECT_EQ(ingest_.published[0].data().fields().at("user_age").number_value(), 27);
}

TEST_F(CommandTest, PublishShowsWhyAnEventWasRejected) {
  EXPECT_EQ(Naru({"publish", "--type", "UserLogin", "--id", "bad"}), 1) << "nothing was taken";
  EXPECT_THAT(err_, HasSubstr("FIELD_KIND data.user_age `x\\x1b[2J`: expected an integer from 0 to 150"));
  const std::string file = dir_.Write("events.jsonl",
                                      "{\"id\":\"bad\",\"type\":\"A\"}\n\n{\"id\":\"again\",\"type\":\"A\"}\n{\"id\":"
                                      "\"3\",\"type\":\"A\",\"source\":\"s\"}\n");
  EXPECT_EQ(Naru({"publish", file, "--source", "shop"}), 0);
  EXPECT_EQ(Naru({"publish", file, "--source", "shop", "--strict", "--output", "json"}), 3);
  EXPECT_EQ(out_, "{\"received\":3,\"accepted\":1,\"duplicate\":1,\"rejected\":1,\"filtered\":0}\n");
  EXPECT_EQ(ingest_.published.back().source(), "s");
  EXPECT_EQ(ingest_.published[ingest_.published.size() - 2].source(), "shop");
}

TEST_F(CommandTest, ALineThatIsNoEventIsNamedAndWhatCameBeforeIsSent) {
  const std::string file = dir_.Write("events.jsonl", "{\"id\":\"1\",\"type\":\"A\"}\n{\"id\":1,\"tpe\":\"A\"}\n");
  EXPECT_EQ(Naru({"publish", file}), 2);
  EXPECT_THAT(err_, HasSubstr("events.jsonl:2"));
  EXPECT_EQ(ingest_.published.size(), 1);
}

TEST_F(CommandTest, AStreamThatTheServerEndsIsAnError) {
  ingest_.end_of_stream = grpc::Status(grpc::StatusCode::PERMISSION_DENIED, "this key may not publish");
  EXPECT_EQ(Naru({"publish", "--type", "A"}), 4);
  EXPECT_THAT(err_, HasSubstr("naru key create"));
}

TEST_F(CommandTest, AStreamThatEndsEarlyIsAnErrorEvenIfTheServerCallsItFine) {
  // The fake server cannot read what is not UTF-8 and ends its stream there, in good order.
  EXPECT_EQ(Naru({"simulate", "--pack", "weblog", "--events", "5000", "--broken_share", "0.3"}), 5);
  EXPECT_THAT(err_, HasSubstr("did not acknowledge"));
}

TEST_F(CommandTest, TailPrintsEventsAsJson) {
  EXPECT_EQ(Naru({"tail", "-n", "5", "--type", "UserLogin,UserLogout", "--output", "jsonl"}), 0) << err_;
  EXPECT_EQ(out_,
            "{\"partition\":2,\"offset\":41,\"id\":\"1\",\"source\":\"shop\",\"type\":\"UserLogin\",\"time\":\"2022-11-"
            "01T00:00:00Z\","
            "\"data\":{\"이름\":\"생수\\n\"}}\n");
  EXPECT_EQ(ingest_.read_request.last_count(), 5);
  EXPECT_EQ(ingest_.read_request.types_size(), 2);
  EXPECT_EQ(Naru({"tail"}), 0);
  EXPECT_THAT(out_, HasSubstr("\"생수\\n\""));
  EXPECT_EQ(Naru({"tail", "--last", "3", "--from_offset", "1"}), 2);
}

TEST_F(CommandTest, SimulatePrintsWhatBecameOfTheEvents) {
  EXPECT_EQ(Naru({"simulate", "--pack", "weblog", "--events", "1200", "--from", "2026-11-01", "--days", "1",
                  "--broken_share", "0", "--output", "json"}),
            0)
      << err_;
  EXPECT_THAT(out_, HasSubstr("\"made\":1200"));
  EXPECT_THAT(out_, HasSubstr("\"received\":1200"));
  EXPECT_EQ(ingest_.published.size(), 1200);
  const auto first = ingest_.published[0];
  ingest_.published.clear();
  EXPECT_EQ(Naru({"simulate", "--pack", "weblog", "--events", "1200", "--from", "2026-11-01", "--days", "1",
                  "--broken_share=0"}),
            0);
  EXPECT_EQ(ingest_.published[0].id(), first.id()) << "the same simulation sends the same ids";
}

TEST_F(CommandTest, ContextsKeepAddressesForOtherCommands) {
  EXPECT_EQ(Naru({"context", "set", "test"}), 0) << err_;
  EXPECT_EQ(Naru({"query", "requests", "--limit", "1"}, false), 0) << err_;
  EXPECT_EQ(Naru({"context", "list", "--output", "json"}, false), 0);
  EXPECT_THAT(out_, HasSubstr(address_));
  EXPECT_EQ(Naru({"context", "use", "other"}, false), 2);
  EXPECT_EQ(Naru({"context", "delete", "test"}, false), 0);
  EXPECT_EQ(Naru({"context", "list", "--output", "csv"}, false), 0);
  EXPECT_EQ(out_, "name,address,api_key,tls,current\n");
}

TEST_F(CommandTest, CompletionKnowsTheCommands) {
  EXPECT_EQ(Naru({"completion", "bash"}, false), 0);
  EXPECT_THAT(out_, HasSubstr("simulate"));
  EXPECT_EQ(Naru({"completion", "tcsh"}, false), 2);
}

TEST_F(CommandTest, ExplainNeedsNoServer) {
  EXPECT_EQ(Naru({"explain", "Metric.window"}, false), 0) << err_;
  EXPECT_THAT(out_, HasSubstr("hopping"));
  EXPECT_EQ(Naru({"explain", "Metrik"}, false), 2);
}

}  // namespace
}  // namespace naru::cli
