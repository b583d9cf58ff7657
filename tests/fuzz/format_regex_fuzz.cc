// Lines matched by a regular expression.
#include "tests/fuzz/format_fuzz.h"

namespace {

const char* const kFormats[] = {
    R"x({"parser":{"type":"regex","pattern":"(?P<level>[A-Z]+) (?P<when>\\S+) (?P<code>\\d+)?:(?P<text>.*)"},"time":{"field":"when","layout":"%d/%b/%Y:%I:%M:%S%p","timeZone":"Asia/Seoul","optional":true},"event":{"type":{"from":"level"}},"data":{"code":{"from":"code","type":"integer"},"text":{"from":"text"},"when":{"from":"when","type":"timestamp"}}})x",
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  return naru::fuzz::RunFormats(kFormats, data, size);
}
