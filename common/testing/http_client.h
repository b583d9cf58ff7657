// The smallest HTTP client that tests need.
#pragma once

#include <map>
#include <string>

namespace naru::testing {

/// What came back.
struct HttpAnswer {
  int status = 0;  ///< 0 = no answer came
  std::string headers;
  std::string body;
};

/// Sends `GET path` to HOST:PORT and reads until the server closes. `headers` replace the usual ones (Host).
HttpAnswer HttpGet(const std::string& address, const std::string& path,
                   const std::map<std::string, std::string>& headers = {});

/// Sends these bytes and reads until the server closes or 10 s have passed.
std::string HttpRaw(const std::string& address, const std::string& bytes);

}  // namespace naru::testing
