// Access log lines in the combined format.
#include "tests/fuzz/format_fuzz.h"

namespace {

const char* const kFormats[] = {
    R"x({"parser":{"type":"apache_combined"},"time":{"field":"timestamp","layout":"%d/%b/%Y:%H:%M:%S %z"},"event":{"type":{"const":"HttpRequest"},"subject":{"template":"{clientip}|{agent}","hash":true}},"data":{"method":{"from":"method"},"path":{"from":"path"},"status":{"from":"status","type":"integer"},"bytes":{"from":"bytes","type":"integer"},"agent":{"from":"agent"}}})x",
    R"x({"parser":{"type":"apache_combined"},"event":{"type":{"const":"HttpRequest"}}})x",
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  return naru::fuzz::RunFormats(kFormats, data, size);
}
