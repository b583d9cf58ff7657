// Random and hand-made events for the tests of this folder.
#pragma once

#include <random>
#include <string>
#include <vector>

#include "google/protobuf/struct.pb.h"
#include "naru/event/v1/event.pb.h"

namespace naru::event {

/// A seeded maker of generated messages. Depth and widths are small, so that many of them run in a second.
class RandomMessages {
 public:
  explicit RandomMessages(uint64_t seed) : rng_(seed) {}

  uint64_t Below(uint64_t n) { return rng_() % n; }

  std::string Text(size_t max_pieces) {
    static const std::vector<std::string> kPieces = {"a",
                                                     "Z",
                                                     "0",
                                                     " ",
                                                     "나루",
                                                     "é",
                                                     "\xF0\x9F\x9B\xB6",
                                                     std::string(1, '\0'),
                                                     "abcdefgh",
                                                     "0123456789abcdef",
                                                     "\x7f",
                                                     "무라벨"};
    std::string text;
    for (uint64_t n = Below(max_pieces + 1); n > 0; --n) text += kPieces[Below(kPieces.size())];
    return text;
  }

  void FillValue(int depth, google::protobuf::Value* value) {
    switch (Below(depth > 0 ? 7 : 5)) {
      case 0:
        value->set_null_value(google::protobuf::NULL_VALUE);
        break;
      case 1:
        value->set_bool_value(Below(2) == 1);
        break;
      case 2:
        value->set_string_value(Text(6));
        break;
      case 3:
        value->set_number_value(static_cast<double>(static_cast<int64_t>(rng_())) / 1024.0);
        break;
      case 4:
        value->set_number_value(static_cast<double>(Below(200)));
        break;
      case 5:
        FillStruct(depth - 1, value->mutable_struct_value());
        break;
      case 6:
        value->mutable_list_value();
        for (uint64_t n = Below(4); n > 0; --n) FillValue(depth - 1, value->mutable_list_value()->add_values());
        break;
    }
  }

  void FillStruct(int depth, google::protobuf::Struct* fields) {
    static const std::vector<std::string> kKeys = {"a", "b", "c", "user_age", "selected_menu", "", "나이", "nested"};
    for (uint64_t n = Below(6); n > 0; --n) {
      FillValue(depth, &(*fields->mutable_fields())[Below(4) ? kKeys[Below(kKeys.size())] : Text(3)]);
    }
  }

  v1::Event Event() {
    v1::Event event;
    if (Below(8)) event.set_id("id-" + std::to_string(rng_()));
    event.set_source("s" + Text(3));
    event.set_type("t" + Text(3));
    if (Below(3)) event.set_subject(Text(5));
    if (Below(3)) event.set_session(Text(5));
    if (Below(3)) {
      event.mutable_time()->set_seconds(static_cast<int64_t>(Below(4'000'000'000ull)) - 1'000'000'000);
      event.mutable_time()->set_nanos(static_cast<int32_t>(Below(1'000'000'000)));
    }
    if (Below(8)) FillStruct(3, event.mutable_data());
    return event;
  }

 private:
  std::mt19937_64 rng_;
};

}  // namespace naru::event
