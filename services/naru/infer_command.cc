// naru infer: a file's InputFormat and EventTypes to start from.
#include "services/naru/infer_command.h"

#include <algorithm>
#include <fstream>
#include <iostream>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/catalog/builtin.h"
#include "common/catalog/resource_file.h"
#include "common/config/config.h"
#include "common/status/status.h"
#include "services/ingest/import_decompressor.h"
#include "services/naru/infer.h"
#include "services/naru/terminal.h"
#include "services/naru/text_width.h"

namespace naru::cli {
namespace {

constexpr size_t kMaxBytes = size_t{64} << 20;
constexpr size_t kReadBytes = size_t{1} << 20;

/// A sample of a file.
struct Sample {
  std::string text;
  bool whole = true;
};

absl::StatusOr<Sample> ReadSample(const std::string& path) {
  std::ifstream file;
  if (path != "-") file.open(path, std::ios::binary);
  std::istream& in = path == "-" ? std::cin : file;
  if (!in) return MakeError(absl::StatusCode::kNotFound, "FILE_NOT_READ", absl::StrCat("cannot read `", path, "`"));
  ingest::ImportDecompressor decompressor(ingest::ImportCompression::kDetect);
  Sample sample;
  std::string bytes(kReadBytes, '\0');
  while (sample.text.size() < kMaxBytes && (in.read(bytes.data(), kReadBytes), in.gcount() > 0)) {
    absl::string_view rest(bytes.data(), static_cast<size_t>(in.gcount()));
    while (!rest.empty()) NARU_RETURN_IF_ERROR(decompressor.Step(&rest, kReadBytes, &sample.text));
  }
  if (sample.text.size() >= kMaxBytes) {
    // The last line may be cut.
    sample.text.resize(sample.text.rfind('\n', kMaxBytes - 1) + 1);
    sample.whole = false;
    return sample;
  }
  if (in.bad())
    return MakeError(absl::StatusCode::kNotFound, "FILE_NOT_READ", absl::StrCat("cannot read `", path, "`"));
  NARU_RETURN_IF_ERROR(decompressor.Finish(&sample.text));
  return sample;
}

/// A name of a resource out of a file's name: `/data/Shop Orders.csv.gz` gives `shop-orders`.
std::string NameOf(absl::string_view path) {
  if (path == "-") return "events";
  path = path.substr(path.find_last_of('/') + 1);
  for (absl::string_view end : {".gz", ".zst"}) path = absl::StripSuffix(path, end);
  const size_t dot = path.find_last_of('.');
  if (dot != absl::string_view::npos && dot > 0) path = path.substr(0, dot);
  std::string name;
  for (char c : path) {
    const auto byte = static_cast<unsigned char>(c);
    name.push_back(absl::ascii_isalnum(byte) || c == '_' || c == '.' ? absl::ascii_tolower(byte) : '-');
  }
  name.resize(std::min<size_t>(name.size(), 100));
  if (name.empty()) name = "events";
  return catalog::FindBuiltin("InputFormat", name) == nullptr ? name : absl::StrCat(name, "-file");
}

std::string Summary(const std::string& path, const Sample& sample, const Inference& inference) {
  std::string text = absl::StrCat(path == "-" ? "standard input" : path, ": ",
                                  sample.whole ? "" : "of the first 64 MiB, ", WithThousands(inference.line_count),
                                  " lines give ", WithThousands(inference.event_count), " events");
  if (inference.rejected_count > 0) {
    absl::StrAppend(&text, "; ", WithThousands(inference.rejected_count),
                    " would be rejected, the first: ", inference.first_rejection);
  }
  return text;
}

class InferCommand : public Command {
 public:
  void AddOptions(Options& options) override {
    options.Positional("FILE", &files_, "A file of events, plain, .gz or .zst; - for standard input.", 1, 1);
    options.Add("name", &options_.name, "Name of the InputFormat; default: made of the file's name.").ValueName("NAME");
    options
        .Add("type", &options_.event_type, "Name of the EventType; default: a field of the lines, or made of the name.")
        .ValueName("NAME");
    options_.name.clear();
  }

  absl::StatusOr<int> Run(Session& session) override {
    const std::string& path = files_[0];
    NARU_ASSIGN_OR_RETURN(const Sample sample, ReadSample(path));
    if (options_.name.empty()) options_.name = NameOf(path);
    NARU_ASSIGN_OR_RETURN(const Inference inference, InferEvents(sample.text, options_));
    const std::string summary = Summary(path, sample, inference);
    std::printf("# %s\n", MakePrintable(summary).c_str());
    for (const std::string& remark : inference.remarks) std::printf("# %s\n", MakePrintable(remark).c_str());
    std::printf("%s", catalog::ToYaml(inference.format).c_str());
    for (const auto& type : inference.types) std::printf("---\n%s", catalog::ToYaml(type).c_str());
    std::printf("# The first events:\n");
    for (const std::string& event : inference.events) std::printf("#   %s\n", MakePrintable(event).c_str());
    session.Say(summary);
    for (const std::string& remark : inference.remarks) session.Say(remark);
    session.Say(absl::StrCat("next: keep this in a file, then naru apply -f FILE.yaml and naru import ",
                             path == "-" ? "..." : path, " --format ", options_.name));
    return kDone;
  }

 private:
  std::vector<std::string> files_;
  InferOptions options_;
};

}  // namespace

CommandEntry InferEntry() {
  return {"infer", "Guess how a file is read: print an InputFormat, EventTypes and the first events to start from.",
          "Knows lines of JSON (also lines that hold a list of events), CSV with and without a header, columns with "
          "JSON in\n"
          "the last one, and combined access logs. What is printed can be applied as it is; the guesses (time, kinds, "
          "enums\n"
          "of few values, what may be missing) fit every line of the file, and are there to be made better.",
          "naru infer orders.csv > orders.yaml\nzcat old.gz | naru infer - --name old --type Purchase",
          [] { return std::make_unique<InferCommand>(); }};
}

}  // namespace naru::cli
