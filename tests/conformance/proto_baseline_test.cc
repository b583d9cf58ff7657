// What was published stays: no field number, type, name or enum value of Naru's protos ever changes or disappears
// (unless its number and name are reserved), every element has a comment, and the cheap rules of the AIPs hold.
//
// proto_baseline.txt holds one line for each element. Additions are accepted by NARU_UPDATE_PROTO_BASELINE=1 in the
// environment (scripts/dev proto_baseline); incompatible changes never are.
#include <cstdlib>
#include <fstream>
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "common/testing/testing.h"
#include "gmock/gmock.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/descriptor.pb.h"
#include "gtest/gtest.h"

namespace naru {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::DescriptorPool;
using google::protobuf::EnumDescriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::FileDescriptor;
using google::protobuf::ServiceDescriptor;
using google::protobuf::SourceLocation;
using ::testing::IsEmpty;

constexpr char kBaseline[] = "tests/conformance/proto_baseline.txt";

std::string TypeOf(const FieldDescriptor& field) {
  std::string type = field.type_name();
  if (field.message_type() != nullptr) type = field.message_type()->full_name();
  if (field.enum_type() != nullptr) type = field.enum_type()->full_name();
  if (field.is_map()) {
    return absl::StrCat("map<", TypeOf(*field.message_type()->map_key()), ",",
                        TypeOf(*field.message_type()->map_value()), ">");
  }
  const std::string label = field.is_repeated() ? "repeated " : field.has_presence() ? "optional " : "";
  const auto* oneof = field.real_containing_oneof();
  return absl::StrCat(label, type, oneof == nullptr ? "" : absl::StrCat(" in ", oneof->name()));
}

// Walks all elements of Naru's packages.
class Walker {
 public:
  virtual ~Walker() = default;
  void Walk(const DescriptorPool& pool, const google::protobuf::FileDescriptorSet& set) {
    for (const auto& file : set.file()) {
      if (!absl::StartsWith(file.package(), "naru.")) continue;
      const FileDescriptor* descriptor = pool.FindFileByName(file.name());
      for (int i = 0; i < descriptor->message_type_count(); ++i) WalkMessage(*descriptor->message_type(i));
      for (int i = 0; i < descriptor->enum_type_count(); ++i) WalkEnum(*descriptor->enum_type(i));
      for (int i = 0; i < descriptor->service_count(); ++i) Service(*descriptor->service(i));
    }
  }

 protected:
  virtual void Message(const Descriptor& message) = 0;
  virtual void Enum(const EnumDescriptor& enumeration) = 0;
  virtual void Service(const ServiceDescriptor& service) = 0;

 private:
  void WalkMessage(const Descriptor& message) {
    if (message.options().map_entry()) return;
    Message(message);
    for (int i = 0; i < message.nested_type_count(); ++i) WalkMessage(*message.nested_type(i));
    for (int i = 0; i < message.enum_type_count(); ++i) WalkEnum(*message.enum_type(i));
  }
  void WalkEnum(const EnumDescriptor& enumeration) { Enum(enumeration); }
};

// One line an element: kind, full name, number, type.
class Lines : public Walker {
 public:
  std::set<std::string> lines;
  std::set<std::string> reserved;  // lines' beginnings (`field NAME NUMBER `) that may be missing

 protected:
  void Message(const Descriptor& message) override {
    lines.insert(absl::StrCat("message ", message.full_name()));
    for (int i = 0; i < message.field_count(); ++i) {
      const FieldDescriptor& field = *message.field(i);
      lines.insert(absl::StrCat("field ", field.full_name(), " = ", field.number(), " ", TypeOf(field), " json ",
                                field.json_name()));
    }
    for (int i = 0; i < message.reserved_range_count(); ++i) {
      for (int number = message.reserved_range(i)->start; number < message.reserved_range(i)->end; ++number) {
        for (int j = 0; j < message.reserved_name_count(); ++j) {
          reserved.insert(
              absl::StrCat("field ", message.full_name(), ".", message.reserved_name(j), " = ", number, " "));
        }
      }
    }
  }
  void Enum(const EnumDescriptor& enumeration) override {
    lines.insert(absl::StrCat("enum ", enumeration.full_name()));
    for (int i = 0; i < enumeration.value_count(); ++i) {
      lines.insert(absl::StrCat("value ", enumeration.full_name(), ".", enumeration.value(i)->name(), " = ",
                                enumeration.value(i)->number()));
    }
  }
  void Service(const ServiceDescriptor& service) override {
    lines.insert(absl::StrCat("service ", service.full_name()));
    for (int i = 0; i < service.method_count(); ++i) {
      const auto& method = *service.method(i);
      lines.insert(absl::StrCat("rpc ", method.full_name(), " (", method.client_streaming() ? "stream " : "",
                                method.input_type()->full_name(), ") returns (",
                                method.server_streaming() ? "stream " : "", method.output_type()->full_name(), ")"));
    }
  }
};

// Elements that break a rule.
class Rules : public Walker {
 public:
  std::vector<std::string> uncommented;
  std::vector<std::string> broken;

 protected:
  template <typename T>
  void NeedComment(const T& element, const std::string& name) {
    SourceLocation location;
    if (!element.GetSourceLocation(&location) ||
        (location.leading_comments.empty() && location.trailing_comments.empty())) {
      uncommented.push_back(name);
    }
  }
  void Message(const Descriptor& message) override {
    NeedComment(message, message.full_name());
    for (int i = 0; i < message.real_oneof_decl_count(); ++i) {
      NeedComment(*message.oneof_decl(i), message.oneof_decl(i)->full_name());
    }
    for (int i = 0; i < message.field_count(); ++i) Field(*message.field(i));
    const bool size = message.FindFieldByName("page_size") != nullptr;
    const bool token = message.FindFieldByName("page_token") != nullptr;
    if (size != token) broken.push_back(absl::StrCat(message.full_name(), ": page_size and page_token go together"));
  }
  void Field(const FieldDescriptor& field) {
    NeedComment(field, field.full_name());
    switch (field.type()) {
      case FieldDescriptor::TYPE_UINT32:
      case FieldDescriptor::TYPE_UINT64:
      case FieldDescriptor::TYPE_FIXED32:
      case FieldDescriptor::TYPE_FIXED64:
        broken.push_back(absl::StrCat(field.full_name(), ": unsigned"));
        break;
      default:
        break;
    }
    const std::string& name = field.name();
    const bool is_time =
        field.message_type() != nullptr && field.message_type()->full_name() == "google.protobuf.Timestamp";
    const bool named_time =
        name == "time" || absl::EndsWith(name, "_time") || (field.is_repeated() && absl::EndsWith(name, "_times"));
    if (is_time && !named_time) broken.push_back(absl::StrCat(field.full_name(), ": a Timestamp is called *_time"));
    const bool snake = name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789_") == std::string::npos;
    if (!snake) broken.push_back(absl::StrCat(field.full_name(), ": not lower_snake_case"));
  }
  void Enum(const EnumDescriptor& enumeration) override {
    NeedComment(enumeration, enumeration.full_name());
    for (int i = 0; i < enumeration.value_count(); ++i) {
      NeedComment(*enumeration.value(i), absl::StrCat(enumeration.full_name(), ".", enumeration.value(i)->name()));
    }
    const auto* zero = enumeration.FindValueByNumber(0);
    if (zero == nullptr || !absl::EndsWith(zero->name(), "_UNSPECIFIED")) {
      broken.push_back(absl::StrCat(enumeration.full_name(), ": zero is not *_UNSPECIFIED"));
    }
  }
  void Service(const ServiceDescriptor& service) override {
    NeedComment(service, service.full_name());
    for (int i = 0; i < service.method_count(); ++i) {
      const auto& method = *service.method(i);
      NeedComment(method, method.full_name());
      if (!absl::StartsWith(method.name(), "List")) continue;
      const bool pages = method.input_type()->FindFieldByName("page_token") != nullptr;
      const bool next = method.output_type()->FindFieldByName("next_page_token") != nullptr;
      if (pages != next) broken.push_back(absl::StrCat(method.full_name(), ": page_token and next_page_token"));
    }
  }
};

class ProtoBaseline : public ::testing::Test {
 protected:
  void SetUp() override {
    std::ifstream stream(NARU_DESCRIPTORS, std::ios::binary);
    ASSERT_TRUE(set_.ParseFromIstream(&stream)) << NARU_DESCRIPTORS;
    for (const auto& file : set_.file()) ASSERT_NE(pool_.BuildFile(file), nullptr) << file.name();
    current_.Walk(pool_, set_);
  }

  static std::set<std::string> ReadBaseline() {
    std::set<std::string> lines;
    std::ifstream stream(testing::SourcePath(kBaseline));
    for (std::string line; std::getline(stream, line);) {
      if (!line.empty() && line[0] != '#') lines.insert(line);
    }
    return lines;
  }

  // What was published and is no longer there, as it was.
  std::vector<std::string> Lost(const std::set<std::string>& baseline) const {
    std::vector<std::string> lost;
    for (const std::string& line : baseline) {
      if (current_.lines.count(line) != 0) continue;
      const bool reserved = std::any_of(current_.reserved.begin(), current_.reserved.end(),
                                        [&](const std::string& start) { return absl::StartsWith(line, start); });
      if (!reserved) lost.push_back(line);
    }
    return lost;
  }

  google::protobuf::FileDescriptorSet set_;
  DescriptorPool pool_;
  Lines current_;
};

TEST_F(ProtoBaseline, NothingPublishedChangesOrDisappears) {
  const std::set<std::string> baseline = ReadBaseline();
  ASSERT_GT(current_.lines.size(), 100u);
  EXPECT_THAT(Lost(baseline), IsEmpty())
      << "these were published: keep them, or reserve both number and name of a field";
}

TEST_F(ProtoBaseline, EverythingIsInTheBaseline) {
  const std::set<std::string> baseline = ReadBaseline();
  std::vector<std::string> added;
  for (const std::string& line : current_.lines) {
    if (baseline.count(line) == 0) added.push_back(line);
  }
  if (!testing::GetEnv("NARU_UPDATE_PROTO_BASELINE").empty()) {
    ASSERT_THAT(Lost(baseline), IsEmpty()) << "nothing was written";
    std::set<std::string> all = baseline;
    all.insert(current_.lines.begin(), current_.lines.end());
    std::ofstream stream(testing::SourcePath(kBaseline));
    stream << "# What Naru's protos have published. Never edited by hand: scripts/dev proto_baseline\n"
           << absl::StrJoin(all, "\n") << "\n";
    ASSERT_TRUE(stream.good());
    return;
  }
  EXPECT_THAT(added, IsEmpty()) << "take them into the baseline with scripts/dev proto_baseline";
}

TEST_F(ProtoBaseline, EveryElementHasAComment) {
  Rules rules;
  rules.Walk(pool_, set_);
  EXPECT_THAT(rules.uncommented, IsEmpty());
}

TEST_F(ProtoBaseline, RulesOfTheAipsHold) {
  Rules rules;
  rules.Walk(pool_, set_);
  EXPECT_THAT(rules.broken, IsEmpty());
}

}  // namespace
}  // namespace naru
