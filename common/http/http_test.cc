#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <future>

#include "absl/strings/str_cat.h"
#include "common/http/address.h"
#include "common/http/host_check.h"
#include "common/http/http_server.h"
#include "common/status/status.h"
#include "common/testing/http_client.h"
#include "common/testing/testing.h"

namespace naru {
namespace {

using ::naru::testing::HttpGet;
using ::naru::testing::HttpRaw;
using ::naru::testing::WaitUntil;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

class HttpServerTest : public ::testing::Test {
 protected:
  void Start() {
    server_ = std::make_unique<HttpServer>(options_);
    server_->Handle("GET", "/echo", [](const HttpRequest& request) {
      HttpResponse response;
      response.body =
          absl::StrCat(request.method, " ", request.path, " ", request.query, " ", request.Header("x-test"));
      return response;
    });
    server_->Handle("POST", "/size", [](const HttpRequest& request) {
      return HttpResponse{200, "text/plain", absl::StrCat(request.body.size()), {{"X-Extra", "1"}}};
    });
    server_->Handle("GET", "/block", [this](const HttpRequest&) {
      blocked_ = true;
      WaitUntil([this] { return release_.load(); });
      return HttpResponse();
    });
    const absl::Status status = server_->Start();
    ASSERT_TRUE(status.ok()) << status;
  }
  std::string Send(const std::string& bytes) { return HttpRaw(server_->address(), bytes); }
  std::string Post(size_t size) {
    return absl::StrCat("POST /size HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: ", size,
                        "\r\n\r\n", std::string(size, 'x'));
  }

  HttpServerOptions options_;
  std::atomic<bool> blocked_{false};
  std::atomic<bool> release_{false};
  std::unique_ptr<HttpServer> server_;
};

TEST_F(HttpServerTest, AnswersByPathAndMethod) {
  Start();
  const auto answer = HttpGet(server_->address(), "/echo?a=1&b=2", {{"X-Test", "yes"}});
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(answer.body, "GET /echo a=1&b=2 yes");
  EXPECT_EQ(HttpGet(server_->address(), "/").status, 404);
  EXPECT_EQ(HttpGet(server_->address(), "/size").status, 405);
  const std::string posted = Send(Post(5));
  EXPECT_THAT(posted, HasSubstr("\r\n\r\n5"));
  EXPECT_THAT(posted, HasSubstr("X-Extra: 1"));
}

TEST_F(HttpServerTest, HeadIsGetWithoutTheBody) {
  Start();
  const std::string answer = Send("HEAD /echo HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 200"));
  EXPECT_THAT(answer, HasSubstr("Content-Length: 12"));
  EXPECT_TRUE(answer.size() >= 4 && answer.substr(answer.size() - 4) == "\r\n\r\n") << answer;
}

TEST_F(HttpServerTest, ServesSeveralRequestsOnOneConnection) {
  Start();
  const std::string one = "GET /echo HTTP/1.1\r\nHost: localhost\r\n\r\n";
  const std::string last = "GET /echo?z HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
  const std::string answer = Send(one + one + last);
  size_t count = 0;
  for (size_t at = 0; (at = answer.find("HTTP/1.1 200", at)) != std::string::npos; ++at) ++count;
  EXPECT_EQ(count, 3u) << answer;
}

TEST_F(HttpServerTest, ForeignHostsAndOriginsAreRefused) {
  options_.allowed_hosts = {"naru.example"};
  Start();
  const auto status = [&](const std::string& host, const std::string& origin) {
    std::map<std::string, std::string> headers = {{"Host", host}};
    if (!origin.empty()) headers["Origin"] = origin;
    return HttpGet(server_->address(), "/echo", headers).status;
  };
  EXPECT_EQ(status("evil.example", ""), 403);
  EXPECT_EQ(status("evil.example:80", ""), 403);
  EXPECT_EQ(status("localhost.evil.example", ""), 403);
  EXPECT_EQ(status("127.0.0.1.evil.example", ""), 403);
  EXPECT_EQ(status("10.0.0.1", ""), 403);
  EXPECT_EQ(status("", ""), 403);
  EXPECT_EQ(status("localhost", "http://evil.example"), 403);
  EXPECT_EQ(status("localhost", "null"), 403);
  EXPECT_EQ(status("localhost:1", "http://localhost:3000"), 200);
  EXPECT_EQ(status("naru.example", "https://NARU.example"), 200);
  EXPECT_EQ(status("[::1]:80", ""), 200);
  EXPECT_THAT(Send("GET /echo HTTP/1.1\r\nConnection: close\r\n\r\n"), StartsWith("HTTP/1.1 403"));
  EXPECT_THAT(Send("GET /echo HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\nConnection: close\r\n\r\n"),
              StartsWith("HTTP/1.1 400"));
}

TEST_F(HttpServerTest, RequestsBeyondTheLimitsAreRefused) {
  options_.max_body_bytes = 1000;
  options_.max_header_bytes = 2000;
  Start();
  EXPECT_THAT(Send(Post(1000)), HasSubstr("\r\n\r\n1000"));
  EXPECT_THAT(Send(Post(1001).substr(0, 200)), StartsWith("HTTP/1.1 413"));
  EXPECT_EQ(HttpGet(server_->address(), "/echo", {{"X-Large", std::string(3000, 'x')}}).status, 431);
}

TEST_F(HttpServerTest, NonsenseGetsAnErrorAndDoesNoHarm) {
  options_.timeout = std::chrono::milliseconds(100);
  Start();
  EXPECT_THAT(Send("\x16\x03\x01 nonsense\r\n\r\n"), StartsWith("HTTP/1.1 400"));
  Send("");
  Send("GET");
  Send(std::string(100'000, '\0'));
  EXPECT_EQ(HttpGet(server_->address(), "/echo").status, 200);
}

TEST_F(HttpServerTest, ASlowClientIsCutOff) {
  options_.timeout = std::chrono::milliseconds(30);
  Start();
  EXPECT_EQ(Send("GET /echo HTTP/1.1\r\n"), "");  // returns when the server closes
}

TEST_F(HttpServerTest, MoreConnectionsThanAllowedAreClosed) {
  options_.max_connections = 1;
  Start();
  auto first = std::async(std::launch::async, [&] { return HttpGet(server_->address(), "/block").status; });
  ASSERT_TRUE(WaitUntil([&] { return blocked_.load(); }));
  EXPECT_EQ(HttpGet(server_->address(), "/echo").status, 0);
  release_ = true;
  EXPECT_EQ(first.get(), 200);
  EXPECT_TRUE(WaitUntil([&] { return HttpGet(server_->address(), "/echo").status == 200; }));
}

TEST_F(HttpServerTest, SaysThatAPortIsTakenOrAnAddressWrong) {
  Start();
  HttpServerOptions same;
  same.listen = server_->address();
  EXPECT_EQ(GetErrorDetails(HttpServer(same).Start()).reason, "PORT_TAKEN");
  same.listen = "nonsense";
  EXPECT_EQ(HttpServer(same).Start().code(), absl::StatusCode::kInvalidArgument);
  same.listen = "127.0.0.1:0";
  same.tls_cert = "/nonexistent";
  EXPECT_EQ(GetErrorDetails(HttpServer(same).Start()).reason, "TLS_FILE");
}

TEST(AddressTest, IsReadAndWritten) {
  EXPECT_EQ(ParseHostPort("127.0.0.1:7700")->port, 7700);
  EXPECT_EQ(ParseHostPort("[::1]:0")->host, "::1");
  EXPECT_EQ(FormatHostPort("::1", 5), "[::1]:5");
  EXPECT_EQ(FormatHostPort("localhost", 5), "localhost:5");
  for (const char* text : {"", "x", ":1", "x:", "x:-1", "x:65536", "x:1x", "::1:5", "[::1]"}) {
    EXPECT_FALSE(ParseHostPort(text).ok()) << text;
  }
}

TEST(AddressTest, KnowsWhatIsLoopback) {
  for (const char* host : {"127.0.0.1", "127.255.0.1", "::1", "localhost", "LOCALHOST", "x.localhost"}) {
    EXPECT_TRUE(IsLoopbackHost(host)) << host;
  }
  for (const char* host :
       {"", "0.0.0.0", "::", "10.0.0.1", "128.0.0.1", "127.0.0.1.x", "localhost.x", "::ffff:10.0.0.1"}) {
    EXPECT_FALSE(IsLoopbackHost(host)) << host;
  }
}

TEST(HostCheckTest, TheConnectionsOwnAddressIsAName) {
  EXPECT_TRUE(HostAllowed("10.1.2.3:7790", "", "10.1.2.3", {}));
  EXPECT_FALSE(HostAllowed("10.1.2.3:7790", "", "10.1.2.4", {}));
  EXPECT_FALSE(HostAllowed("10.1.2.3:7790", "http://10.1.2.3", "10.1.2.3", {}));
  EXPECT_FALSE(HostAllowed("[", "", "x", {}));
}

}  // namespace
}  // namespace naru
