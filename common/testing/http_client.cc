#include "common/testing/http_client.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <cstdlib>

#include "absl/strings/str_cat.h"

namespace naru::testing {

std::string HttpRaw(const std::string& address, const std::string& bytes) {
  const size_t colon = address.rfind(':');
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(static_cast<uint16_t>(std::atoi(address.c_str() + colon + 1)));
  inet_pton(AF_INET, address.substr(0, colon).c_str(), &to.sin_addr);
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const timeval limit{10, 0};
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
  std::string answer;
  if (connect(fd, reinterpret_cast<const sockaddr*>(&to), sizeof(to)) == 0) {
    size_t sent = 0;
    while (sent < bytes.size()) {
      const ssize_t put = send(fd, bytes.data() + sent, bytes.size() - sent, MSG_NOSIGNAL);
      if (put <= 0) break;
      sent += static_cast<size_t>(put);
    }
    char buffer[16384];
    for (ssize_t got; (got = recv(fd, buffer, sizeof(buffer), 0)) > 0;) answer.append(buffer, static_cast<size_t>(got));
  }
  close(fd);
  return answer;
}

HttpAnswer HttpGet(const std::string& address, const std::string& path,
                   const std::map<std::string, std::string>& headers) {
  std::map<std::string, std::string> all = {{"Host", address}, {"Connection", "close"}};
  for (const auto& [name, value] : headers) all[name] = value;
  std::string request = absl::StrCat("GET ", path, " HTTP/1.1\r\n");
  for (const auto& [name, value] : all) absl::StrAppend(&request, name, ": ", value, "\r\n");
  const std::string text = HttpRaw(address, request + "\r\n");
  HttpAnswer answer;
  const size_t end = text.find("\r\n\r\n");
  if (text.size() < 12 || end == std::string::npos) return answer;
  answer.status = std::atoi(text.c_str() + 9);
  answer.headers = text.substr(0, end);
  answer.body = text.substr(end + 4);
  return answer;
}

}  // namespace naru::testing
