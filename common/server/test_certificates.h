// Certificates for tests.
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

}  // namespace naru
