// CSV records cut by the splitter, with conversions.
#include "tests/fuzz/format_fuzz.h"

namespace {

const char* const kFormats[] = {
    R"x({"parser":{"type":"csv","columns":["a","n","t","j"],"jsonColumns":["j"]},"time":{"field":"t","layout":"%Y-%m-%d %H:%M:%E*S %z","optional":true},"event":{"type":{"from":"a"}},"data":{"n":{"from":"n","type":"number"},"i":{"from":"n","type":"integer"},"b":{"from":"n","type":"boolean"},"j":{"from":"j"},"x":{"expr":"double(n) / 2.0"}}})x",
    R"x({"parser":{"type":"csv","columns":["a","b"]},"event":{"type":{"from":"a"}}})x",
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  return naru::fuzz::RunFormats(kFormats, data, size);
}
