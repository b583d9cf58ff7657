#include "services/ingest/import_decompressor.h"

#include <gtest/gtest.h>
#include <zlib.h>
#include <zstd.h>

#include <random>

#include "common/status/status.h"
#include "services/ingest/testing_import.h"

namespace naru::ingest {
namespace {

/// Feeds the bytes in pieces of `piece` and returns what came out, or the error's reason.
std::string Decompress(absl::string_view bytes, size_t piece,
                       ImportCompression compression = ImportCompression::kDetect) {
  ImportDecompressor decompressor(compression);
  std::string out;
  for (size_t at = 0; at < bytes.size(); at += piece) {
    absl::string_view part = bytes.substr(at, piece);
    while (!part.empty()) {
      const absl::Status status = decompressor.Step(&part, 1000, &out);
      if (!status.ok()) return GetErrorDetails(status).reason;
    }
  }
  const absl::Status status = decompressor.Finish(&out);
  return status.ok() ? out : GetErrorDetails(status).reason;
}

std::string SomeText(size_t lines) {
  std::string text;
  for (size_t i = 0; i < lines; ++i) text += "line number " + std::to_string(i * 7919) + "\n";
  return text;
}

TEST(ImportDecompressor, AllFormsGiveTheSameBytesHoweverTheyAreCut) {
  const std::string text = SomeText(5000);
  const std::string first = text.substr(0, 30000);
  const std::string second = text.substr(30000);
  const std::vector<std::string> forms = {text,
                                          Gzip(text),
                                          Gzip(first) + Gzip("") + Gzip(second),
                                          Gzip(text) + std::string(512, '\0'),
                                          Zstd(text),
                                          Zstd(first) + Zstd("") + Zstd(second)};
  for (size_t form = 0; form < forms.size(); ++form) {
    for (size_t piece : {size_t{1}, size_t{2}, size_t{3}, size_t{7}, size_t{4096}, size_t{1} << 20}) {
      ASSERT_EQ(Decompress(forms[form], piece), text) << form << " " << piece;
    }
  }
}

TEST(ImportDecompressor, ShortAndEmptyInputs) {
  for (const char* text : {"", "a", "ab", "abc", "\x1f", "\x28\xb5\x2f"}) EXPECT_EQ(Decompress(text, 1), text);
  EXPECT_EQ(Decompress(Gzip(""), 1), "");
  EXPECT_EQ(Decompress(Zstd(""), 1), "");
}

TEST(ImportDecompressor, CutOffStreamsAreToldApartFromDamagedOnes) {
  for (const std::string& whole : {Gzip(SomeText(1000)), Zstd(SomeText(1000))}) {
    EXPECT_EQ(Decompress(whole.substr(0, whole.size() / 2), 100), "IMPORT_TRUNCATED");
    EXPECT_EQ(Decompress(whole.substr(0, whole.size() - 1), 100), "IMPORT_TRUNCATED");
    std::string damaged = whole;
    for (size_t i = damaged.size() / 2; i < damaged.size() / 2 + 20; ++i) damaged[i] = static_cast<char>(~damaged[i]);
    EXPECT_EQ(Decompress(damaged, 100), "IMPORT_DAMAGED");
    EXPECT_EQ(Decompress(whole + "garbage after the end", 100), "IMPORT_DAMAGED");
  }
  EXPECT_EQ(Decompress("plain text", 100, ImportCompression::kGzip), "IMPORT_DAMAGED");
  EXPECT_EQ(Decompress("plain text", 100, ImportCompression::kZstd), "IMPORT_DAMAGED");
}

TEST(ImportDecompressor, BombsAreRefusedBeforeTheyAreFinished) {
  // Zstandard makes a few hundred bytes of this.
  const std::string bomb = Zstd(std::string(size_t{600} << 20, 'x'));
  ASSERT_LT(bomb.size(), 100000u);
  ImportDecompressor decompressor(ImportCompression::kDetect);
  absl::string_view rest = bomb;
  int64_t total = 0;
  absl::Status status;
  while (!rest.empty() && status.ok()) {
    std::string out;
    status = decompressor.Step(&rest, 1 << 20, &out);
    total += static_cast<int64_t>(out.size());
  }
  EXPECT_EQ(GetErrorDetails(status).reason, "IMPORT_EXPANSION");
  EXPECT_LT(total, int64_t{300} << 20);
}

TEST(ImportDecompressor, RandomBytesNeverCrash) {
  std::mt19937 random(3);
  for (int round = 0; round < 3000; ++round) {
    std::string bytes = round % 2 == 0 ? Gzip(SomeText(20)) : Zstd(SomeText(20));
    for (int n = 1 + random() % 4; n > 0; --n) bytes[random() % bytes.size()] = static_cast<char>(random());
    Decompress(bytes, 1 + random() % 50);
  }
}

}  // namespace
}  // namespace naru::ingest
