// Visitors of Zigbang's app: people who look for homes. Most only look; few come as far as a contract. Event types,
// fields and lines are those of deploy/packs/zigbang.
#include <algorithm>
#include <array>
#include <cmath>
#include <iterator>
#include <optional>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/civil_time.h"
#include "absl/time/time.h"
#include "common/event/event_writer.h"
#include "naru/event/v1/event.pb.h"
#include "services/naru/event_text.h"
#include "services/naru/json_text.h"
#include "services/naru/proto_time.h"
#include "services/naru/visitors.h"

namespace naru::cli {
namespace {

struct District {
  const char* province;
  const char* short_name;  ///< as the app's lines often say it
  const char* name;
  double weight;
};
// Where small homes are looked for: Seoul above all, and around the universities.
constexpr District kDistricts[] = {
    {"서울특별시", "서울", "관악구", 70},       {"서울특별시", "서울시", "강남구", 62},
    {"서울특별시", "서울", "마포구", 48},       {"서울특별시", "서울", "송파구", 44},
    {"서울특별시", "서울특별시", "성북구", 30}, {"서울특별시", "서울", "영등포구", 34},
    {"경기도", "경기", "수원시", 46},           {"경기도", "경기도", "성남시", 38},
    {"경기도", "경기", "고양시", 30},           {"경기도", "경기", "용인시", 28},
    {"인천광역시", "인천", "부평구", 24},       {"인천광역시", "인천시", "연수구", 18},
    {"부산광역시", "부산", "부산진구", 28},     {"부산광역시", "부산시", "해운대구", 22},
    {"대구광역시", "대구", "수성구", 20},       {"대전광역시", "대전", "유성구", 20},
    {"광주광역시", "광주", "북구", 13},         {"울산광역시", "울산", "남구", 9},
    {"세종특별자치시", "세종시", "나성동", 6},  {"강원특별자치도", "강원도", "춘천시", 8},
    {"충청북도", "충북", "청주시", 11},         {"충청남도", "충남", "천안시", 14},
    {"전북특별자치도", "전북", "전주시", 11},   {"전라남도", "전남", "여수시", 6},
    {"경상북도", "경북", "포항시", 9},          {"경상남도", "경남", "창원시", 13},
    {"제주특별자치도", "제주", "제주시", 7},
};

struct Home {
  const char* room_type;
  const char* filter;  ///< the event of narrowing results to such homes
  double weight;
};
constexpr Home kHomes[] = {{"원룸", "oneroom_filter_results", 44},
                           {"오피스텔", "officetel_filter_results", 20},
                           {"아파트", "apt_filter_results", 24},
                           {"빌라", "villa_filter_results", 12}};
constexpr const char* kDeals[] = {"월세", "전세", "매매"};
constexpr const char* kTerms[] = {"역세권", "신축", "풀옵션", "반려동물", "주차", "투룸", "학교 앞"};
constexpr const char* kMethods[] = {"kakao", "naver", "apple", "email"};
constexpr double kMethodWeights[] = {55, 22, 13, 10};
constexpr const char* kAgents[] = {
    "okhttp/4.9.3", "Zigbang/12.4 (iPhone; iOS 16.1)",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/107.0 Safari/537.36"};
constexpr double kAgentWeights[] = {52, 34, 14};

// What stays the same about a person: where and what they look for.
struct Person {
  bool anonymous = false;
  std::string id;
  size_t district = 0;
  size_t home = 0;
  size_t deal = 0;
  const char* method = "";
  const char* agent = "";
  std::string address;
};

template <typename Things>
size_t PickByWeight(const Things& things, Dice& dice) {
  std::array<double, std::extent_v<Things>> weights;
  std::transform(std::begin(things), std::end(things), weights.begin(), [](const auto& thing) { return thing.weight; });
  return dice.Pick(weights);
}

Person MakePerson(const Visit& visit, Dice& dice) {
  Dice self({visit.seed, 0x21B, static_cast<uint64_t>(visit.member)});
  Person person;
  person.anonymous = dice.Chance(0.2);
  person.id = absl::StrCat("u", absl::Dec(visit.member + 1, absl::kZeroPad7));
  person.district = PickByWeight(kDistricts, self);
  person.home = PickByWeight(kHomes, self);
  constexpr double kOfFlats[] = {8, 42, 50};
  constexpr double kOfOthers[] = {66, 29, 5};
  person.deal = self.Pick(person.home == 2 ? kOfFlats : kOfOthers);
  person.method = kMethods[self.Pick(kMethodWeights)];
  person.agent = kAgents[self.Pick(kAgentWeights)];
  // As the format does: addresses can be counted, none is kept. Families and offices share one.
  person.address = absl::StrCat(absl::Hex(Mix(static_cast<uint64_t>(self.Below(20'000))), absl::kZeroPad16));
  return person;
}

// One visit as it goes on.
class RoomWalk {
 public:
  RoomWalk(const Visit& visit, Dice& dice, std::vector<VisitorEvent>* events)
      : person_(MakePerson(visit, dice)), dice_(dice), now_us_(visit.start_us), events_(events) {}

  void Run() {
    Add("session_start", {});
    Show("home");
    if (!person_.anonymous && dice_.Chance(0.35)) {
      Wait(8);
      Add(dice_.Chance(0.04) ? "sign_up" : "login", {.method = person_.method, .screen = "login"});
    }
    // One in five leaves at once.
    if (dice_.Chance(0.2)) return;
    const int64_t searches = 1 + std::min<int64_t>(static_cast<int64_t>(dice_.Exponential(1.4)), 8);
    for (int64_t i = 0; i < searches && !left_; ++i) Search();
    if (dice_.Chance(0.1)) Show("my_page");
    if (dice_.Chance(0.5)) Add("user_engagement", {.engagement_ms = (now_us_ - events_->front().time_us) / 1000});
  }

 private:
  struct Fields {
    const char* method = nullptr;
    const char* screen = nullptr;
    std::string item;
    double value = -1;
    const char* term = nullptr;
    int64_t results = -1;
    int64_t engagement_ms = -1;
  };

  void Wait(double mean_s) {
    now_us_ += static_cast<int64_t>((0.4 + std::min(dice_.Exponential(mean_s), 180.0)) * kSecond);
  }

  // Keys in alphabetical order.
  void Add(absl::string_view type, const Fields& fields) {
    std::string data;
    event::StructWriter writer(&data);
    const bool placed = type != "login" && type != "sign_up" && type != "session_start";
    writer.AddString("address", person_.address);
    if (placed) writer.AddString("deal_type", kDeals[person_.deal]);
    if (fields.engagement_ms >= 0) writer.AddNumber("engagement_ms", static_cast<double>(fields.engagement_ms));
    if (!fields.item.empty()) writer.AddString("item_id", fields.item);
    if (placed) writer.AddString("local1", kDistricts[person_.district].province);
    if (placed) writer.AddString("local2", kDistricts[person_.district].name);
    if (fields.method != nullptr) writer.AddString("method", fields.method);
    if (fields.results >= 0) writer.AddNumber("result_count", static_cast<double>(fields.results));
    if (placed) writer.AddString("room_type", kHomes[person_.home].room_type);
    if (fields.screen != nullptr) writer.AddString("screen_name", fields.screen);
    if (fields.term != nullptr) writer.AddString("search_term", fields.term);
    writer.AddString("user_agent", person_.agent);
    if (fields.value >= 0) writer.AddNumber("value", fields.value);
    events_->push_back({now_us_, std::string(type), person_.anonymous ? "" : person_.id, std::move(data)});
  }

  void Show(const char* screen) {
    Wait(3);
    Add("screen_view", {.screen = screen});
  }

  // Everything from here on loses people at each step.
  void Search() {
    Wait(12);
    const int64_t results = dice_.Below(60);
    if (dice_.Chance(0.45)) {
      const char* term = kTerms[dice_.Below(std::size(kTerms))];
      Add("search", {.screen = "search", .term = term});
      Wait(1);
      Add("view_search_results", {.screen = "search", .term = term, .results = results});
    } else {
      Show("map");
      Add("view_map", {.screen = "map"});
      Wait(5);
      Add(kHomes[person_.home].filter, {.screen = "map", .results = results});
    }
    Wait(4);
    Add("view_item_list", {.screen = "list", .results = results});
    if (results == 0) return;
    const int64_t looks = dice_.Below(5);
    for (int64_t i = 0; i < looks && !left_; ++i) Look();
  }

  void Look() {
    Wait(8);
    // A few listings of a district get most of the looks.
    const double unit = dice_.Unit();
    const std::string item = absl::StrCat(31000 + static_cast<int64_t>(person_.district) * 1000 +
                                          static_cast<int64_t>(unit * unit * unit * 400));
    const double value = person_.deal == 0 ? 1e4 * static_cast<double>(dice_.Between(35, 110))
                                           : 1e6 * static_cast<double>(dice_.Between(60, 900));
    Add("select_item", {.screen = "list", .item = item});
    Wait(1);
    Add("view_item", {.screen = "item_detail", .item = item, .value = value});
    Wait(25);
    if (dice_.Chance(0.05)) Add("share", {.method = "kakao", .screen = "item_detail", .item = item});
    if (person_.anonymous || !dice_.Chance(0.16)) return;
    Add("add_to_wishlist", {.screen = "item_detail", .item = item, .value = value});
    if (dice_.Chance(0.08)) {
      Wait(20);
      Add("remove_from_wishlist", {.screen = "wishlist", .item = item});
      return;
    }
    if (!dice_.Chance(0.3)) return;
    Wait(30);
    Add("add_to_cart", {.screen = "item_detail", .item = item, .value = value});
    if (dice_.Chance(0.6)) Add("generate_lead", {.method = "call", .screen = "item_detail", .item = item});
    if (!dice_.Chance(0.22)) return;
    Wait(90);
    Add("begin_checkout", {.screen = "contract", .item = item, .value = value});
    if (!dice_.Chance(0.5)) return;
    Wait(120);
    Add("purchase", {.screen = "contract", .item = item, .value = value});
    left_ = true;
  }

  const Person person_;
  Dice& dice_;
  int64_t now_us_;
  std::vector<VisitorEvent>* events_;
  bool left_ = false;
};

// An address for documentation that stands for a hash.
std::string AddressOfLine(const std::string& hash) {
  uint64_t number = 0;
  if (!absl::SimpleHexAtoi(hash, &number)) return "";
  constexpr const char* kNets[] = {"192.0.2.", "198.51.100.", "203.0.113."};
  return absl::StrCat(kNets[number % 3], 1 + number / 3 % 254);
}

// The short name of a province, as the person's phone writes it.
std::string ShortProvince(const std::string& province, const std::string& district) {
  for (const District& known : kDistricts) {
    if (province == known.province && district == known.name) return known.short_name;
  }
  return province;
}

std::string JsonOfLine(const event::v1::Event& event) {
  JsonObject json;
  const auto& fields = event.data().fields();
  for (const char* key : {"local1", "local2", "room_type", "deal_type", "screen_name", "item_id", "value",
                          "search_term", "result_count", "method", "engagement_ms"}) {
    const auto found = fields.find(key);
    if (found == fields.end()) continue;
    if (std::string(key) == "local1" && fields.contains("local2")) {
      json.Add(key, ShortProvince(found->second.string_value(), fields.at("local2").string_value()));
    } else {
      json.AddRaw(key, JsonValue(found->second));
    }
  }
  return json.Text();
}

class ZigbangSite : public Site {
 public:
  absl::string_view pack() const override { return "zigbang"; }
  absl::string_view source() const override { return "simulator/zigbang"; }
  absl::string_view time_zone() const override { return "Asia/Seoul"; }
  std::array<double, 24> hour_weights() const override {
    return {34, 20, 11, 7, 5, 6, 12, 26, 38, 44, 48, 52, 64, 56, 50, 50, 52, 56, 62, 70, 78, 84, 80, 58};
  }
  std::array<double, 7> weekday_weights() const override { return {1.0, 0.98, 0.97, 0.97, 0.96, 1.08, 1.04}; }
  void AddVisit(const Visit& visit, Dice& dice, std::vector<VisitorEvent>* events) const override {
    std::vector<VisitorEvent> walked;
    RoomWalk(visit, dice, &walked).Run();
    std::move(walked.begin(), walked.end(), std::back_inserter(*events));
  }

  bool Spoil(Dice& dice, VisitorEvent* event) const override {
    std::string data;
    event::StructWriter writer(&data);
    if (event->type == "view_item" || event->type == "add_to_wishlist") {
      // No listing, or one that is a number.
      if (dice.Chance(0.5)) writer.AddNumber("item_id", 31007);
      writer.AddString("local1", "서울특별시");
    } else if (event->type == "screen_view") {
      writer.AddNumber("screen_name", 7);
    } else {
      writer.AddNumber("local1", 11);
    }
    event->data = data;
    return true;
  }

  std::optional<std::string> Line(const event::v1::Event& event, bool broken, Dice& dice) const override {
    const int64_t micros = ToMicros(event.time());
    absl::TimeZone seoul;
    absl::LoadTimeZone("Asia/Seoul", &seoul);
    const auto& fields = event.data().fields();
    const auto text = [&](const char* key) {
      const auto found = fields.find(key);
      return found == fields.end() ? std::string() : found->second.string_value();
    };
    std::string json = JsonOfLine(event);
    std::string time = absl::StrCat(micros / 1000);
    if (broken && dice.Chance(0.5)) {
      time = "yesterday";
    } else if (broken) {
      json.pop_back();
    }
    return absl::StrCat(time, "|", event.subject().empty() ? "null" : event.subject(), "|", event.session(), "|",
                        event.type(), "|", text("user_agent"), "|", AddressOfLine(text("address")), "|",
                        absl::Hex(dice.Next(), absl::kZeroPad16), "|", micros / 1000 + 120, "|",
                        absl::FormatTime("%Y-%m-%d %H:%M:%S", absl::FromUnixMicros(micros), seoul), "|", json);
  }
};

}  // namespace

std::unique_ptr<Site> MakeZigbangSite() { return std::make_unique<ZigbangSite>(); }

}  // namespace naru::cli
