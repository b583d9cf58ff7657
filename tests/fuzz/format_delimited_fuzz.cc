// Delimited lines whose last column is JSON.
#include "tests/fuzz/format_fuzz.h"

namespace {

const char* const kFormats[] = {
    R"x({"parser":{"type":"delimited","columns":["ts","user","event","payload"],"jsonColumns":["payload"]},"time":{"field":"ts","layout":"unix_ms","optional":true},"event":{"type":{"from":"event"},"subject":{"from":"user"}},"data":{"local1":{"from":"payload.local1"},"deep":{"from":"payload.a.b"},"room":{"expr":"payload.room + '!'"}}})x",
    R"x({"parser":{"type":"delimited","columns":["a","b","payload"],"jsonColumns":["payload"]},"event":{"type":{"from":"a"}}})x",
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  return naru::fuzz::RunFormats(kFormats, data, size);
}
