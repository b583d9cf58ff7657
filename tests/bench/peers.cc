// The peers that Naru is measured against, driven with the same events. Each command prints one JSON line.
//   bench_peers redis HOST PORT SECONDS WINDOW XADD in pipelined batches over 4 connections, WINDOW of them under way
//   bench_peers grpc_drop                      a server that parses StreamEvents with generated code and drops them;
//                                              prints its port, runs until standard input closes
//   bench_peers rdkafka BROKERS TOPIC SECONDS  librdkafka's own producer, acks=all, idempotent
//   bench_peers produce BROKERS TOPIC FILE     the lines of a file as messages of a topic, as an app's servers send
//   them bench_peers fdatasync DIR SECONDS          write 4 KiB + fdatasync, one after the other
#include <arpa/inet.h>
#include <fcntl.h>
#include <grpcpp/grpcpp.h>
#include <librdkafka/rdkafka.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "naru/ingest/v1/ingest.grpc.pb.h"
#include "tests/bench/load.h"

namespace {

using SteadyClock = std::chrono::steady_clock;
constexpr int kStreams = 4;
constexpr int kBatch = 500;
constexpr int kBatchesPerStream = 64;  // made beforehand, sent round and round

double SecondsSince(SteadyClock::time_point start) {
  return std::chrono::duration<double>(SteadyClock::now() - start).count();
}

int Connect(const char* host, int port) {
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  inet_pton(AF_INET, host, &address.sin_addr);
  if (connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0) {
    std::perror("connect");
    std::exit(1);
  }
  const int one = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
  return fd;
}

// A batch as one pipelined write: an XADD for each event.
std::string RespBatch(uint64_t seed) {
  std::string out;
  for (const std::string& event : naru::bench::MakeEvents(seed, kBatch)) {
    absl::StrAppend(&out, "*5\r\n$4\r\nXADD\r\n$6\r\nevents\r\n$1\r\n*\r\n$1\r\ne\r\n$", event.size(), "\r\n", event,
                    "\r\n");
  }
  return out;
}

// Reads until at least `count` replies have come since `*line_ends` was 0; what comes beyond them stays counted.
void ReadReplies(int fd, int count, int* line_ends) {
  char buffer[65536];
  // Each reply is a bulk string: two line ends.
  while (*line_ends < 2 * count) {
    const ssize_t n = read(fd, buffer, sizeof(buffer));
    if (n <= 0) std::exit(1);
    if (buffer[0] == '-') {
      std::fprintf(stderr, "redis: %.*s\n", static_cast<int>(n), buffer);
      std::exit(1);
    }
    for (ssize_t i = 0; i < n; ++i) *line_ends += buffer[i] == '\n';
  }
  *line_ends -= 2 * count;
}

void WriteAll(int fd, const std::string& bytes) {
  for (size_t sent = 0; sent < bytes.size();) {
    const ssize_t n = write(fd, bytes.data() + sent, bytes.size() - sent);
    if (n <= 0) std::exit(1);
    sent += n;
  }
}

int RunRedis(const char* host, int port, double seconds, int window) {
  std::atomic<int64_t> events{0};
  std::vector<std::thread> threads;
  std::vector<std::vector<std::string>> batches(kStreams);
  for (int t = 0; t < kStreams; ++t) {
    for (int b = 0; b < kBatchesPerStream; ++b) batches[t].push_back(RespBatch(t * 1000 + b));
  }
  const auto start = SteadyClock::now();
  for (int t = 0; t < kStreams; ++t) {
    threads.emplace_back([&, t] {
      const int fd = Connect(host, port);
      int under_way = 0, line_ends = 0;
      for (int b = 0; under_way > 0 || SecondsSince(start) < seconds; ++b) {
        for (; under_way < window && SecondsSince(start) < seconds; ++under_way) {
          WriteAll(fd, batches[t][(b + under_way) % kBatchesPerStream]);
        }
        ReadReplies(fd, kBatch, &line_ends);
        --under_way;
        events += kBatch;
      }
      close(fd);
    });
  }
  for (std::thread& thread : threads) thread.join();
  std::printf("{\"peer\":\"redis\",\"events_per_s\":%.0f}\n", events / SecondsSince(start));
  return 0;
}

class DropService : public naru::ingest::v1::IngestService::Service {
  grpc::Status StreamEvents(grpc::ServerContext*,
                            grpc::ServerReaderWriter<naru::ingest::v1::PublishEventsResponse,
                                                     naru::ingest::v1::PublishEventsRequest>* stream) override {
    naru::ingest::v1::PublishEventsRequest request;
    naru::ingest::v1::PublishEventsResponse response;
    while (stream->Read(&request)) {
      response.set_received_count(request.events_size());
      response.set_accepted_count(request.events_size());
      stream->Write(response);
    }
    return grpc::Status::OK;
  }
};

int RunGrpcDrop() {
  DropService service;
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  builder.SetMaxReceiveMessageSize(8 << 20);
  builder.RegisterService(&service);
  const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  std::printf("{\"peer\":\"grpc_drop\",\"port\":%d}\n", port);
  std::fflush(stdout);
  while (std::getchar() != EOF) {
  }
  server->Shutdown();
  return 0;
}

// Counts in `*delivered` what the broker has acknowledged.
rd_kafka_t* OpenProducer(const char* brokers, std::atomic<int64_t>* delivered) {
  char error[512];
  rd_kafka_conf_t* conf = rd_kafka_conf_new();
  const std::pair<const char*, const char*> settings[] = {
      {"bootstrap.servers", brokers}, {"acks", "all"},    {"enable.idempotence", "true"},
      {"compression.codec", "lz4"},   {"linger.ms", "5"}, {"queue.buffering.max.messages", "500000"}};
  for (const auto& [name, value] : settings) rd_kafka_conf_set(conf, name, value, error, sizeof(error));
  rd_kafka_conf_set_opaque(conf, delivered);
  rd_kafka_conf_set_dr_msg_cb(conf, [](rd_kafka_t*, const rd_kafka_message_t* message, void* opaque) {
    if (message->err == 0) ++*static_cast<std::atomic<int64_t>*>(opaque);
  });
  return rd_kafka_new(RD_KAFKA_PRODUCER, conf, error, sizeof(error));
}

void Produce(rd_kafka_t* producer, rd_kafka_topic_t* topic, const std::string& value, absl::string_view key) {
  while (rd_kafka_produce(topic, RD_KAFKA_PARTITION_UA, RD_KAFKA_MSG_F_COPY, const_cast<char*>(value.data()),
                          value.size(), key.data(), key.size(), nullptr) == -1) {
    rd_kafka_poll(producer, 5);
  }
}

int RunRdkafka(const char* brokers, const char* topic, double seconds) {
  std::atomic<int64_t> delivered{0};
  rd_kafka_t* producer = OpenProducer(brokers, &delivered);
  rd_kafka_topic_t* handle = rd_kafka_topic_new(producer, topic, nullptr);
  const std::vector<std::string> events = naru::bench::MakeEvents(1, 100000);
  const auto start = SteadyClock::now();
  for (int64_t i = 0; SecondsSince(start) < seconds; ++i) {
    const std::string& event = events[i % events.size()];
    Produce(producer, handle, event, absl::string_view(event).substr(2, 16));
    if ((i & 1023) == 0) rd_kafka_poll(producer, 0);
  }
  rd_kafka_flush(producer, 60000);
  std::printf("{\"peer\":\"rdkafka\",\"events_per_s\":%.0f}\n", delivered / SecondsSince(start));
  rd_kafka_topic_destroy(handle);
  rd_kafka_destroy(producer);
  return 0;
}

// The key is the third column, where the lines have columns: the messages of a session stay in order.
int RunProduce(const char* brokers, const char* topic, const char* path) {
  std::ifstream file(path);
  std::atomic<int64_t> delivered{0};
  rd_kafka_t* producer = OpenProducer(brokers, &delivered);
  rd_kafka_topic_t* handle = rd_kafka_topic_new(producer, topic, nullptr);
  std::string line;
  int64_t sent = 0;
  for (; std::getline(file, line); ++sent) {
    const std::vector<absl::string_view> columns = absl::StrSplit(line, absl::MaxSplits('|', 3));
    Produce(producer, handle, line, columns.size() > 3 ? columns[2] : absl::string_view());
    if ((sent & 1023) == 0) rd_kafka_poll(producer, 0);
  }
  rd_kafka_flush(producer, 60000);
  std::printf("{\"peer\":\"produce\",\"sent\":%lld,\"delivered\":%lld}\n", static_cast<long long>(sent),
              static_cast<long long>(delivered));
  rd_kafka_topic_destroy(handle);
  rd_kafka_destroy(producer);
  return sent == delivered ? 0 : 1;
}

int RunFdatasync(const std::string& dir, double seconds) {
  const std::string path = dir + "/fdatasync.bench";
  const int fd = open(path.c_str(), O_CREAT | O_WRONLY | O_APPEND, 0600);
  const std::string block(4096, 'x');
  std::vector<double> samples;
  const auto start = SteadyClock::now();
  while (SecondsSince(start) < seconds) {
    const auto before = SteadyClock::now();
    if (write(fd, block.data(), block.size()) != static_cast<ssize_t>(block.size()) || fdatasync(fd) != 0) return 1;
    samples.push_back(SecondsSince(before) * 1000);
  }
  close(fd);
  unlink(path.c_str());
  const double p50 = naru::bench::Quantile(samples, 0.5);
  std::printf("{\"peer\":\"fdatasync\",\"p50_ms\":%.3f,\"p99_ms\":%.3f,\"count\":%zu}\n", p50,
              naru::bench::Quantile(samples, 0.99), samples.size());
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string command = argc > 1 ? argv[1] : "";
  if (command == "redis" && argc == 6) {
    return RunRedis(argv[2], std::atoi(argv[3]), std::atof(argv[4]), std::max(1, std::atoi(argv[5])));
  }
  if (command == "grpc_drop" && argc == 2) return RunGrpcDrop();
  if (command == "rdkafka" && argc == 5) return RunRdkafka(argv[2], argv[3], std::atof(argv[4]));
  if (command == "produce" && argc == 5) return RunProduce(argv[2], argv[3], argv[4]);
  if (command == "fdatasync" && argc == 4) return RunFdatasync(argv[2], std::atof(argv[3]));
  std::fprintf(stderr,
               "usage: bench_peers redis HOST PORT SECONDS WINDOW | grpc_drop | rdkafka BROKERS TOPIC SECONDS | "
               "produce BROKERS TOPIC FILE | fdatasync DIR SECONDS\n");
  return 2;
}
