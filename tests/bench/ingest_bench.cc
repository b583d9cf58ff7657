// Sends events to a running ingest as fast as it takes them, or at a rate, and says how fast that was.
//
//     ingest_bench --address HOST:PORT [--seconds 10 | --events N] [--streams 4] [--batch 500] [--window 4]
//     ingest_bench --address HOST:PORT --unary --rate 1000 --seconds 10
//
// Requests are made before the start; only the ids are new in each one, so that nothing is a duplicate. The last line
// is JSON.
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>
#include <sys/resource.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <deque>
#include <memory>
#include <thread>

#include "common/config/config.h"
#include "common/event/event_view.h"
#include "common/sync/mutex.h"
#include "naru/ingest/v1/ingest.pb.h"
#include "tests/bench/load.h"

namespace naru::bench {
namespace {

using SteadyClock = std::chrono::steady_clock;
using RawStub = grpc::TemplatedGenericStub<grpc::ByteBuffer, grpc::ByteBuffer>;

constexpr char kStream[] = "/naru.ingest.v1.IngestService/StreamEvents";
constexpr char kPublish[] = "/naru.ingest.v1.IngestService/PublishEvents";
constexpr int kTemplates = 8;

struct Settings {
  std::string address;
  double seconds = 10;
  int64_t events = 0;
  int streams = 4;
  int batch = 500;
  int window = 4;
  bool unary = false;
  int rate = 1000;
};

double Since(SteadyClock::time_point start) {
  return std::chrono::duration<double>(SteadyClock::now() - start).count();
}

// Ready-made requests whose ids are rewritten each time.
class Requests {
 public:
  Requests(uint64_t seed, int batch) : next_(seed << 40) {
    for (size_t i = 0; i < hex_.size(); ++i) hex_[i] = {"0123456789abcdef"[i >> 4], "0123456789abcdef"[i & 15]};
    for (int t = 0; t < kTemplates; ++t) {
      Template made;
      made.bytes = MakePublishRequest(seed * 100 + t, batch);
      std::vector<absl::string_view> events;
      bool offsets;
      event::SplitPublishRequest(made.bytes, &events, &offsets);
      for (absl::string_view event : events) {
        event::EventView view;
        event::ParseStoredEvent(event, &view);
        made.ids.push_back(view.id.data() - made.bytes.data());
      }
      templates_.push_back(std::move(made));
    }
  }
  grpc::ByteBuffer Next() {
    Template& made = templates_[turn_++ % kTemplates];
    for (size_t at : made.ids) WriteId(made.bytes.data() + at);
    const grpc::Slice slice(made.bytes);
    return grpc::ByteBuffer(&slice, 1);
  }

 private:
  struct Template {
    std::string bytes;
    std::vector<size_t> ids;
  };
  // Half of an id is new, through a mixing function so that it looks as random as the other half, which stays: the
  // client shares the processor with the server, so it should cost little.
  void WriteId(char* out) {
    uint64_t z = ++next_ * 0x9E3779B97F4A7C15ull;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
    z ^= z >> 27;
    for (int i = 0; i < 8; ++i) std::memcpy(out + 2 * i, hex_[z >> (8 * i) & 255].data(), 2);
  }

  std::array<std::array<char, 2>, 256> hex_;
  uint64_t next_;
  size_t turn_ = 0;
  std::vector<Template> templates_;
};

struct Totals {
  std::atomic<int64_t> accepted{0}, other{0};
  Mutex mu;
  std::vector<double> latencies_ms ABSL_GUARDED_BY(mu);
};

void Count(const grpc::ByteBuffer& buffer, Totals* totals) {
  grpc::Slice slice;
  grpc::ByteBuffer copy = buffer;
  naru::ingest::v1::PublishEventsResponse response;
  if (!copy.DumpToSingleSlice(&slice).ok() || !response.ParseFromArray(slice.begin(), static_cast<int>(slice.size()))) {
    std::exit(1);
  }
  totals->accepted += response.accepted_count();
  totals->other += response.duplicate_count() + response.rejected_count();
}

// One stream that keeps `window` batches under way until it is told to stop.
class Stream : public grpc::ClientBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer> {
 public:
  Stream(const Settings& settings, uint64_t seed, std::atomic<int64_t>* left, Totals* totals)
      : settings_(settings), requests_(seed, settings.batch), left_(*left), totals_(*totals) {}

  void Start(RawStub* stub) {
    stub->PrepareBidiStreamingCall(&context_, kStream, {}, this);
    AddHold();
    StartCall();
    StartRead(&response_);
    Write();
  }
  void Stop() {
    stop_ = true;
    Write();
  }
  void Wait() {
    MutexLock lock(&mu_);
    while (!done_) changed_.Wait(&mu_);
  }

  void OnWriteDone(bool ok) override {
    {
      MutexLock lock(&mu_);
      writing_ = false;
    }
    if (ok) Write();
  }
  void OnReadDone(bool ok) override {
    if (!ok) return;
    Count(response_, &totals_);
    {
      MutexLock lock(&mu_);
      latencies_ms_.push_back(Since(sent_.front()) * 1000);
      sent_.pop_front();
    }
    StartRead(&response_);
    Write();
  }
  void OnDone(const grpc::Status& status) override {
    if (!status.ok()) std::fprintf(stderr, "stream: %s\n", status.error_message().c_str());
    {
      MutexLock lock(&totals_.mu);
      totals_.latencies_ms.insert(totals_.latencies_ms.end(), latencies_ms_.begin(), latencies_ms_.end());
    }
    MutexLock lock(&mu_);
    done_ = true;
    changed_.Signal();
  }

 private:
  void Write() {
    {
      MutexLock lock(&mu_);
      if (writing_ || ended_) return;
      if (stop_ || left_.fetch_sub(settings_.batch) <= 0) {
        ended_ = true;
      } else if (static_cast<int>(sent_.size()) >= settings_.window) {
        left_ += settings_.batch;
        return;
      } else {
        writing_ = true;
        request_ = requests_.Next();
        sent_.push_back(SteadyClock::now());
      }
    }
    if (writing_) {
      StartWrite(&request_);
    } else {
      StartWritesDone();
      RemoveHold();
    }
  }

  const Settings& settings_;
  Requests requests_;
  std::atomic<int64_t>& left_;
  Totals& totals_;
  grpc::ClientContext context_;
  grpc::ByteBuffer request_, response_;
  std::atomic<bool> stop_{false};
  Mutex mu_;
  CondVar changed_;
  std::atomic<bool> writing_{false};
  bool ended_ ABSL_GUARDED_BY(mu_) = false;
  bool done_ ABSL_GUARDED_BY(mu_) = false;
  std::deque<SteadyClock::time_point> sent_ ABSL_GUARDED_BY(mu_);
  std::vector<double> latencies_ms_;
};

// Processor time of this process so far, in microseconds.
double CpuMicros() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1e6 +
         static_cast<double>(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

void Print(const char* mode, Totals* totals, double seconds, double cpu_us) {
  MutexLock lock(&totals->mu);
  const auto answered = static_cast<double>(totals->accepted + totals->other);
  std::printf(
      "{\"mode\":\"%s\",\"events_per_s\":%.0f,\"events\":%lld,\"not_accepted\":%lld,\"seconds\":%.2f,"
      "\"p50_ms\":%.3f,\"p99_ms\":%.3f,\"max_ms\":%.3f,\"cpu_us_per_event\":%.3f}\n",
      mode, answered / seconds, static_cast<long long>(totals->accepted), static_cast<long long>(totals->other),
      seconds, Quantile(totals->latencies_ms, 0.5), Quantile(totals->latencies_ms, 0.99),
      Quantile(totals->latencies_ms, 1), cpu_us / std::max(1.0, answered));
}

int RunStreams(const Settings& settings, const std::shared_ptr<grpc::Channel>& channel, uint64_t seed) {
  Totals totals;
  std::atomic<int64_t> left{settings.events > 0 ? settings.events : INT64_MAX / 2};
  RawStub stub(channel);
  std::vector<std::unique_ptr<Stream>> streams;
  for (int s = 0; s < settings.streams; ++s) {
    streams.push_back(std::make_unique<Stream>(settings, seed + static_cast<uint64_t>(s), &left, &totals));
  }
  const double cpu_us = CpuMicros();
  const auto start = SteadyClock::now();
  for (auto& stream : streams) stream->Start(&stub);
  if (settings.events == 0) {
    std::this_thread::sleep_for(std::chrono::duration<double>(settings.seconds));
    for (auto& stream : streams) stream->Stop();
  }
  for (auto& stream : streams) stream->Wait();
  Print("stream", &totals, Since(start), CpuMicros() - cpu_us);
  return 0;
}

// Calls begin when their time has come, whether the earlier ones are answered or not; latency counts from that time.
int RunUnary(const Settings& settings, const std::shared_ptr<grpc::Channel>& channel, uint64_t seed) {
  struct Call {
    grpc::ClientContext context;
    grpc::ByteBuffer request, response;
  };
  Totals totals;
  std::atomic<int64_t> open{0}, failed{0};
  RawStub stub(channel);
  Requests requests(seed, 1);
  const double cpu_us = CpuMicros();
  const auto start = SteadyClock::now();
  const auto calls = static_cast<int64_t>(settings.seconds * settings.rate);
  for (int64_t n = 0; n < calls; ++n) {
    const auto due = start + std::chrono::nanoseconds(n * 1'000'000'000 / settings.rate);
    std::this_thread::sleep_until(due);
    auto call = std::make_shared<Call>();
    call->request = requests.Next();
    ++open;
    stub.UnaryCall(&call->context, kPublish, {}, &call->request, &call->response,
                   [&, call, due](const grpc::Status& status) {
                     if (status.ok()) {
                       Count(call->response, &totals);
                       MutexLock lock(&totals.mu);
                       totals.latencies_ms.push_back(Since(due) * 1000);
                     } else {
                       ++failed;
                     }
                     --open;
                   });
  }
  while (open > 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  Print("unary", &totals, Since(start), CpuMicros() - cpu_us);
  return failed == 0 ? 0 : 1;
}

int Main(int argc, char** argv) {
  Settings settings;
  Options options("ingest_bench", "Sends events to a running ingest and says how fast it took them.");
  options.FlagsOnly();
  options.Add("address", &settings.address, "HOST:PORT of the gRPC port.").Required();
  options.Add("seconds", &settings.seconds, "How long.");
  options.Add("events", &settings.events, "Stop after so many instead.");
  options.Add("streams", &settings.streams, "Streams at a time.");
  options.Add("batch", &settings.batch, "Events a batch.").Range(1, 10'000);
  options.Add("window", &settings.window, "Batches of one stream under way.").Range(1, 64);
  options.Add("unary", &settings.unary, "Calls of one event instead of streams.");
  options.Add("rate", &settings.rate, "Calls a second.").Range(1, 1e6);
  if (const std::optional<int> exit_code = options.ParseCommandLine(argc, argv)) return *exit_code;
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(8 << 20);
  const auto channel = grpc::CreateCustomChannel(settings.address, grpc::InsecureChannelCredentials(), arguments);
  if (!channel->WaitForConnected(std::chrono::system_clock::now() + std::chrono::seconds(10))) {
    std::fprintf(stderr, "nobody listens at %s\n", settings.address.c_str());
    return 1;
  }
  const auto seed = static_cast<uint64_t>(SteadyClock::now().time_since_epoch().count()) >> 10 & 0xffffff;
  return settings.unary ? RunUnary(settings, channel, seed) : RunStreams(settings, channel, seed);
}

}  // namespace
}  // namespace naru::bench

int main(int argc, char** argv) { return naru::bench::Main(argc, argv); }
