// Any resource that is written is read back as the same: random messages over the protos' descriptors.
#include <cmath>
#include <random>
#include <string>

#include "common/catalog/apply_plan.h"
#include "common/catalog/resource_file.h"
#include "common/catalog/yaml_scalar.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/struct.pb.h"
#include "google/protobuf/timestamp.pb.h"
#include "google/protobuf/util/message_differencer.h"
#include "gtest/gtest.h"
#include "naru/catalog/v1/resources.pb.h"

namespace naru::catalog {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Struct;
using google::protobuf::Timestamp;
using google::protobuf::Value;
using google::protobuf::util::MessageDifferencer;

class RandomMessages {
 public:
  explicit RandomMessages(uint64_t seed) : random_(seed) {}

  int Below(int n) { return static_cast<int>(random_() % static_cast<uint64_t>(n)); }

  // Texts that YAML writers get wrong.
  std::string Text() {
    static const char* const kAwkward[] = {"",
                                           " ",
                                           "no",
                                           "yes",
                                           "true",
                                           "null",
                                           "~",
                                           "1",
                                           "-1",
                                           "1.5",
                                           "0x1F",
                                           "1e5",
                                           ".inf",
                                           ".nan",
                                           "2022-11-01",
                                           "- a",
                                           "a: b",
                                           "a #b",
                                           "#",
                                           "'",
                                           "\"",
                                           "it's",
                                           "\\",
                                           "\n",
                                           "a\n",
                                           "a\nb",
                                           "a\n\nb\n",
                                           " a\nb",
                                           "a \nb",
                                           "a\n\n",
                                           "\ta",
                                           "a\tb\nc",
                                           "\r",
                                           "a\r\nb",
                                           "{a}",
                                           "[b]",
                                           "*a",
                                           "&a",
                                           "!a",
                                           "|",
                                           ">",
                                           "%",
                                           "@",
                                           "`",
                                           "?",
                                           ":",
                                           "-",
                                           "---",
                                           "...",
                                           "--- a",
                                           "나루",
                                           "나루\n둘째 줄\n",
                                           "\xC2\x85",
                                           "\xE2\x80\xA8",
                                           "\xEF\xBB\xBF",
                                           "\x7F",
                                           "a,b",
                                           "<<",
                                           "=",
                                           "a:",
                                           "a -",
                                           "😀",
                                           "\xEF\xBF\xBE",
                                           "  ",
                                           "a  b",
                                           "key: |",
                                           "\x01",
                                           "type == \"UserLogin\" && data.user_age >= 20"};
    std::string text;
    const int parts = Below(3);
    for (int i = 0; i <= parts; ++i) text += kAwkward[Below(static_cast<int>(std::size(kAwkward)))];
    if (Below(20) == 0) text += std::string(Below(300), 'x');
    if (Below(50) == 0) text += std::string(1, '\0');
    return text;
  }

  double Number() {
    switch (Below(6)) {
      case 0:
        return Below(2000) - 1000;
      case 1:
        return std::ldexp(static_cast<double>(random_()), Below(200) - 100);
      case 2:
        return -0.0;
      case 3:
        return 9007199254740992.0 + 2.0 * Below(3);
      case 4:
        return 5e-324 * Below(5);
      default:
        return Below(1000) / 10.0;
    }
  }

  void Fill(Value* value, int depth) {
    switch (Below(depth > 3 ? 4 : 6)) {
      case 0:
        value->set_null_value(google::protobuf::NULL_VALUE);
        return;
      case 1:
        value->set_bool_value(Below(2) == 0);
        return;
      case 2:
        value->set_number_value(Number());
        return;
      case 3:
        value->set_string_value(Text());
        return;
      case 4:
        Fill(value->mutable_struct_value(), depth + 1);
        return;
      default:
        value->mutable_list_value();
        for (int i = Below(4); i > 0; --i) Fill(value->mutable_list_value()->add_values(), depth + 1);
    }
  }

  void Fill(Struct* fields, int depth) {
    for (int i = Below(4); i > 0; --i) Fill(&(*fields->mutable_fields())[Text()], depth + 1);
  }

  void FillField(Message* message, const FieldDescriptor* field, int depth) {
    const auto* reflection = message->GetReflection();
    const bool add = field->is_repeated();
    switch (field->cpp_type()) {
      case FieldDescriptor::CPPTYPE_STRING:
        add ? reflection->AddString(message, field, Text()) : reflection->SetString(message, field, Text());
        return;
      case FieldDescriptor::CPPTYPE_BOOL:
        add ? reflection->AddBool(message, field, true) : reflection->SetBool(message, field, Below(2) == 0);
        return;
      case FieldDescriptor::CPPTYPE_DOUBLE:
        add ? reflection->AddDouble(message, field, Number()) : reflection->SetDouble(message, field, Number());
        return;
      case FieldDescriptor::CPPTYPE_INT32:
        add ? reflection->AddInt32(message, field, Below(100) - 50)
            : reflection->SetInt32(message, field, static_cast<int32_t>(random_()));
        return;
      case FieldDescriptor::CPPTYPE_MESSAGE:
        Fill(add ? reflection->AddMessage(message, field) : reflection->MutableMessage(message, field), depth + 1);
        return;
      default:
        FAIL() << "a field of a type that is new: " << field->full_name();
    }
  }

  void Fill(Message* message, int depth) {
    if (auto* value = dynamic_cast<Value*>(message)) return Fill(value, depth);
    if (auto* fields = dynamic_cast<Struct*>(message)) return Fill(fields, depth);
    if (auto* time = dynamic_cast<Timestamp*>(message)) {
      time->set_seconds(Below(2'000'000'000));
      time->set_nanos(Below(1'000'000) * 1000);
      return;
    }
    for (int i = 0; i < message->GetDescriptor()->field_count(); ++i) {
      const FieldDescriptor* field = message->GetDescriptor()->field(i);
      if (Below(3) == 0 || depth > 8) continue;
      if (field->is_map()) {
        for (int j = Below(3); j > 0; --j) FillMapEntry(message, field, depth);
      } else {
        for (int j = field->is_repeated() ? Below(4) : 1; j > 0; --j) FillField(message, field, depth);
      }
    }
  }

  // Keys must differ: a map that is parsed keeps the last of two.
  void FillMapEntry(Message* message, const FieldDescriptor* field, int depth) {
    Message* entry = message->GetReflection()->AddMessage(message, field);
    entry->GetReflection()->SetString(entry, field->message_type()->map_key(), Text() + std::to_string(++keys_));
    FillField(entry, field->message_type()->map_value(), depth + 1);
  }

  v1::Resource Resource() {
    v1::Resource resource;
    const auto* spec = v1::Resource::descriptor()->FindOneofByName("spec");
    const FieldDescriptor* field = spec->field(Below(spec->field_count()));
    resource.set_api_version("naru.dev/v1");
    resource.set_kind(field->message_type()->name());
    Fill(resource.mutable_metadata(), 1);
    resource.mutable_metadata()->set_name(Text() + "n");
    Fill(resource.GetReflection()->MutableMessage(&resource, field), 1);
    for (int i = Below(3); i > 0; --i) Fill(resource.add_tests(), 1);
    return resource;
  }

 private:
  std::mt19937_64 random_;
  int keys_ = 0;
};

TEST(YamlRoundTrip, EveryResourceReadsBackAsItWas) {
  for (int seed = 0; seed < 1500; ++seed) {
    const v1::Resource resource = RandomMessages(seed).Resource();
    const std::string yaml = ToYaml(resource, true);
    const ResourceSet set = LoadText("a.yaml", yaml);
    for (const FileProblem& problem : set.problems) ADD_FAILURE() << seed << ": " << problem.ToString();
    ASSERT_EQ(set.resources.size(), 1u) << seed << "\n" << yaml;
    std::string difference;
    MessageDifferencer differencer;
    differencer.ReportDifferencesToString(&difference);
    ASSERT_TRUE(differencer.Compare(resource, *set.resources[0].resource)) << seed << "\n" << difference << yaml;
    EXPECT_TRUE(SameContent(resource, *set.resources[0].resource));
    EXPECT_TRUE(Diff(resource, *set.resources[0].resource).empty());
    ASSERT_EQ(ToYaml(*set.resources[0].resource, true), yaml) << seed;
  }
}

TEST(YamlRoundTrip, TwoDifferentResourcesHaveADifference) {
  for (int seed = 0; seed < 500; ++seed) {
    const v1::Resource a = RandomMessages(seed).Resource();
    v1::Resource b = a;
    RandomMessages(seed + 100'000).Fill(b.add_tests(), 1);
    b.mutable_tests(b.tests_size() - 1)->set_name("one more");
    EXPECT_FALSE(Diff(a, b).empty()) << seed;
    EXPECT_FALSE(SameContent(a, b)) << seed;
  }
}

TEST(YamlScalar, FormatsNumbersThatResolveToThemselves) {
  RandomMessages random(1);
  for (int i = 0; i < 100'000; ++i) {
    const double number = random.Number();
    const Scalar scalar = ResolvePlain(FormatNumber(number));
    ASSERT_TRUE(scalar.kind == ScalarKind::kInteger || scalar.kind == ScalarKind::kFloat) << FormatNumber(number);
    ASSERT_EQ(scalar.number, number);
    ASSERT_EQ(std::signbit(scalar.number), std::signbit(number)) << FormatNumber(number);
  }
}

}  // namespace
}  // namespace naru::catalog
