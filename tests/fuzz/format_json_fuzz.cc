// Flat, exploded and mapped JSON lines.
#include "tests/fuzz/format_fuzz.h"

namespace {

const char* const kFormats[] = {
    R"x({"parser":{"type":"json"},"time":{"field":"ts","optional":true},"nullValues":["none"],"event":{"type":{"from":"event"},"id":{"from":"a.b"},"subject":{"expr":"size(data) > 1 ? 'x' : string(n)"}}})x",
    R"x({"parser":{"type":"json"},"explode":"events","time":{"field":"ts","layout":"unix_ms","optional":true},"event":{"type":{"from":"type"},"subject":{"template":"{session}-{aid}","hash":true}}})x",
    R"x({"parser":{"type":"json"},"time":{"field":"time","optional":true},"event":{"type":{"from":"event"},"session":{"from":"a.b"}},"dataFrom":"data"})x",
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  return naru::fuzz::RunFormats(kFormats, data, size);
}
