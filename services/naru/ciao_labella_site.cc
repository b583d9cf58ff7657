// Visitors of Ciao laBella: people who photograph label-free plastic for points, look for label-free products and for
// zero-waste shops. Event types and fields are those of deploy/packs/ciao_labella.
#include <algorithm>
#include <array>
#include <cmath>
#include <iterator>

#include "absl/strings/str_cat.h"
#include "common/clock/rfc3339.h"
#include "common/event/event_writer.h"
#include "services/naru/visitors.h"

namespace naru::cli {
namespace {

struct Region {
  const char* name;
  double weight;
  double latitude;
  double longitude;
};
// Shares of the population in per mille; a point in the middle.
constexpr Region kRegions[] = {
    {"서울특별시", 182, 37.566, 126.978},    {"경기도", 265, 37.413, 127.518},
    {"인천광역시", 58, 37.456, 126.705},     {"부산광역시", 64, 35.180, 129.076},
    {"대구광역시", 46, 35.871, 128.601},     {"대전광역시", 28, 36.351, 127.385},
    {"광주광역시", 28, 35.160, 126.852},     {"울산광역시", 21, 35.538, 129.311},
    {"세종특별자치시", 7, 36.480, 127.289},  {"강원특별자치도", 30, 37.823, 128.156},
    {"충청북도", 31, 36.636, 127.491},       {"충청남도", 41, 36.519, 126.800},
    {"전북특별자치도", 34, 35.717, 127.153}, {"전라남도", 35, 34.868, 126.991},
    {"경상북도", 50, 36.289, 128.888},       {"경상남도", 63, 35.461, 128.213},
    {"제주특별자치도", 13, 33.489, 126.498},
};

struct Word {
  const char* text;
  double young;  ///< how often people under 40 type it
  double old;
};
constexpr Word kWords[] = {
    {"생수", 20, 26}, {"무라벨 생수", 14, 12}, {"탄산수", 16, 7},    {"제로콜라", 15, 2},  {"콜라", 7, 4},
    {"사이다", 6, 5}, {"커피", 10, 11},        {"아메리카노", 9, 4}, {"보리차", 3, 12},    {"옥수수수염차", 4, 9},
    {"녹차", 3, 7},   {"이온음료", 8, 3},      {"스파클링", 6, 1},   {"두유", 3, 8},       {"오렌지주스", 4, 4},
    {"물 2L", 6, 9},  {"물 500ml", 7, 5},      {"헛개차", 3, 5},     {"레몬에이드", 4, 1}, {"식혜", 1, 5},
};

struct Product {
  const char* name;
  const char* volume;
  int unit_price;
};
constexpr Product kProducts[] = {
    {"무라벨 샘물", "2L", 480},     {"무라벨 샘물", "500ml", 310},   {"에코 생수", "2L", 450},
    {"에코 생수", "1L", 390},       {"무라벨 탄산수", "500ml", 620}, {"라임 탄산수", "350ml", 700},
    {"제로 콜라", "350ml", 890},    {"무라벨 사이다", "500ml", 930}, {"보리차", "1.5L", 1050},
    {"옥수수수염차", "1.5L", 1100}, {"녹차", "500ml", 980},          {"콜드브루 커피", "1L", 2900},
    {"아메리카노", "500ml", 1350},  {"이온음료", "1.5L", 1480},      {"두유", "190ml", 560},
    {"오렌지주스", "1.5L", 2700},
};

constexpr const char* kMenus[] = {"ecopoint1", "ecopoint2", "nolabel", "lesswaste"};
constexpr const char* kPages[] = {"main", "navbar", "mypage"};

// What stays the same about a person.
struct Person {
  bool anonymous = false;
  std::string id;
  const char* gender = "";
  int age = 0;
  size_t region = 0;
};

Person MakePerson(const Visit& visit, Dice& dice) {
  Person person;
  // About a quarter looks around without an account; who they are changes nothing about what is theirs.
  person.anonymous = dice.Chance(0.25);
  Dice self({visit.seed, 0xC1A0, static_cast<uint64_t>(visit.member)});
  person.id = absl::StrCat("m", absl::Dec(visit.member + 1, absl::kZeroPad6));
  person.gender = self.Chance(0.62) ? "F" : "M";
  constexpr double kAgeBands[] = {7, 30, 27, 18, 11, 5, 2};  // 10s to 70s
  const auto band = static_cast<int64_t>(self.Pick(kAgeBands));
  person.age = static_cast<int>((band + 1) * 10 + self.Below(10));
  double weights[std::size(kRegions)];
  for (size_t i = 0; i < std::size(kRegions); ++i) weights[i] = kRegions[i].weight;
  person.region = self.Pick(weights);
  return person;
}

// Collects one event's data; the fields every event has come last in the alphabet of keys where they belong.
class DataWriter {
 public:
  explicit DataWriter(const Person& person) : person_(person) {}
  DataWriter& Text(absl::string_view key, absl::string_view value) {
    fields_.push_back({std::string(key), std::string(value), 0, Kind::kText});
    return *this;
  }
  DataWriter& Number(absl::string_view key, double value) {
    fields_.push_back({std::string(key), "", value, Kind::kNumber});
    return *this;
  }
  DataWriter& Location(absl::string_view key, double latitude, double longitude) {
    std::string list;
    event::ListWriter writer(&list);
    for (const double number : {latitude, longitude}) {
      event::ValueView value;
      value.kind = event::Kind::kNumber;
      value.number = number;
      writer.AddValue(value);
    }
    fields_.push_back({std::string(key), list, 0, Kind::kList});
    return *this;
  }
  std::string Finish() {
    if (!person_.anonymous) {
      Text("member_id", person_.id).Text("user_gender", person_.gender).Number("user_age", person_.age);
      Text("user_region", kRegions[person_.region].name);
    }
    std::sort(fields_.begin(), fields_.end(), [](const auto& a, const auto& b) { return a.key < b.key; });
    std::string bytes;
    event::StructWriter writer(&bytes);
    for (const Field& field : fields_) {
      switch (field.kind) {
        case Kind::kText:
          writer.AddString(field.key, field.text);
          break;
        case Kind::kNumber:
          writer.AddNumber(field.key, field.number);
          break;
        case Kind::kList:
          writer.AddList(field.key, field.text);
          break;
      }
    }
    return bytes;
  }

 private:
  enum class Kind { kText, kNumber, kList };
  struct Field {
    std::string key;
    std::string text;
    double number;
    Kind kind;
  };
  const Person& person_;
  std::vector<Field> fields_;
};

// One visit as it goes on.
class Walk {
 public:
  Walk(const Visit& visit, Dice& dice, std::vector<VisitorEvent>* events)
      : person_(MakePerson(visit, dice)), dice_(dice), now_us_(visit.start_us), events_(events) {}

  void Run() {
    if (!person_.anonymous) Add("UserLogin", Data().Text("login_time", Now()));
    const auto clicks = 1 + static_cast<int64_t>(dice_.Exponential(2.2));
    for (int64_t i = 0; i < std::min<int64_t>(clicks, 12); ++i) ClickMenu();
    if (!person_.anonymous) LogOut();
  }

 private:
  DataWriter Data() const { return DataWriter(person_); }
  std::string Now() const { return FormatRfc3339(now_us_ / kSecond * kSecond); }
  void Wait(double mean_s) {
    now_us_ += static_cast<int64_t>((0.5 + std::min(dice_.Exponential(mean_s), 240.0)) * kSecond);
  }

  void Add(absl::string_view type, DataWriter data) {
    events_->push_back({now_us_, std::string(type), person_.anonymous ? "" : person_.id, data.Finish()});
  }

  void ClickMenu() {
    Wait(12);
    constexpr double kWeights[] = {25, 12, 43, 20};
    const size_t menu = dice_.Pick(kWeights);
    Add("UserClickMenu", Data()
                             .Text("selected_menu", kMenus[menu])
                             .Text("menuclick_page", kPages[dice_.Below(std::size(kPages))])
                             .Text("menuclick_time", Now()));
    if (menu == 2) SearchProducts();
    if (menu == 3) SearchShops();
    // Points are for members.
    if (menu <= 1 && !person_.anonymous) TakePhoto(menu + 1);
    if (dice_.Chance(0.003)) Fail();
  }

  void SearchProducts() {
    const int64_t searches = dice_.Between(1, 3);
    for (int64_t i = 0; i < searches; ++i) {
      Wait(10);
      double weights[std::size(kWords)];
      for (size_t w = 0; w < std::size(kWords); ++w) weights[w] = person_.age < 40 ? kWords[w].young : kWords[w].old;
      Add("UserSearchProduct",
          Data().Text("search_word", kWords[dice_.Pick(weights)].text).Text("searchclick_time", Now()));
      for (int64_t clicks = dice_.Below(3); clicks > 0; --clicks) {
        Wait(15);
        const Product& product = kProducts[dice_.Below(std::size(kProducts))];
        Add("UserClickProduct", Data()
                                    .Text("product_name", product.name)
                                    .Text("product_volume", product.volume)
                                    .Number("product_unitprice", product.unit_price)
                                    .Text("productclick_time", Now()));
      }
    }
  }

  void SearchShops() {
    Wait(8);
    constexpr double kWeights[] = {30, 45, 15, 10};
    const Region& region = kRegions[person_.region];
    const auto near = [&](double middle) { return std::round((middle + (dice_.Unit() - 0.5) * 0.3) * 1e5) / 1e5; };
    const double latitude = near(region.latitude);
    const double longitude = near(region.longitude);
    Add("UserSearchLesswaste", Data()
                                   .Number("radius_km", 5.0 * static_cast<double>(dice_.Pick(kWeights) + 1))
                                   .Location("searchclick_location", latitude, longitude)
                                   .Text("searchclick_time", Now()));
  }

  void TakePhoto(size_t kind) {
    Wait(35);
    DataWriter data = Data();
    const bool taken = dice_.Chance(0.82);
    if (kind == 1) {
      constexpr const char* kFailures[] = {"ImgNoMeta", "ImgNotToday",    "ImgDuplicated",
                                           "OverCount", "ModelNoPlastic", "ModelYesLabel"};
      data.Text("photo_id", absl::StrCat("p", absl::Hex(dice_.Next(), absl::kZeroPad16)))
          .Text("eco1upload_time", Now());
      data.Number("save_point", taken ? 10.0 * static_cast<double>(dice_.Between(1, 4)) : 0);
      if (!taken) data.Text("fail_msg", kFailures[dice_.Below(std::size(kFailures))]);
      Add("UserUsedEcopoint1", std::move(data));
    } else {
      constexpr const char* kFailures[] = {"OverCount", "ModelError", "OcrNoDetect"};
      data.Text("eco2upload_time", Now());
      data.Number("save_point", taken ? 10.0 * static_cast<double>(dice_.Between(1, 5)) : 0);
      if (!taken) data.Text("fail_msg", kFailures[dice_.Below(std::size(kFailures))]);
      Add("UserUsedEcopoint2", std::move(data));
    }
  }

  void Fail() {
    Add("error", Data().Text("stack_trace", "Traceback (most recent call last): DetectorTimeout").Number("lineno", 42));
  }

  void LogOut() {
    constexpr const char* kMethods[] = {"ButtonClicked", "BrowserClosed", "SessionExpired"};
    constexpr double kWeights[] = {45, 25, 30};
    const size_t method = dice_.Pick(kWeights);
    // A session ends 1,800 s after the last activity.
    if (method == 2)
      now_us_ += 1800 * kSecond;
    else
      Wait(20);
    Add("UserLogout", Data().Text("logout_method", kMethods[method]).Text("logout_time", Now()));
  }

  const Person person_;
  Dice& dice_;
  int64_t now_us_;
  std::vector<VisitorEvent>* events_;
};

class CiaoLabellaSite : public Site {
 public:
  absl::string_view pack() const override { return "ciao_labella"; }
  absl::string_view source() const override { return "simulator/ciao_labella"; }
  absl::string_view time_zone() const override { return "Asia/Seoul"; }
  std::array<double, 24> hour_weights() const override {
    return {22, 14, 9, 6, 5, 7, 14, 28, 40, 44, 46, 50, 66, 56, 48, 46, 48, 54, 62, 70, 78, 80, 66, 40};
  }
  std::array<double, 7> weekday_weights() const override { return {0.95, 0.92, 0.94, 0.96, 1.0, 1.14, 1.09}; }
  void AddVisit(const Visit& visit, Dice& dice, std::vector<VisitorEvent>* events) const override {
    Walk(visit, dice, events).Run();
  }

  bool Spoil(Dice& dice, VisitorEvent* event) const override {
    Person nobody;
    nobody.anonymous = true;
    DataWriter data(nobody);
    if (event->type == "UserClickMenu") {
      dice.Chance(0.5) ? data.Text("selected_menu", "ecopoint9") : data.Number("selected_menu", 3);
    } else if (event->type == "UserUsedEcopoint1" || event->type == "UserUsedEcopoint2") {
      data.Text("save_point", "열 점");
    } else if (event->type == "UserSearchProduct") {
      data.Text("search_word", "생수").Number("user_age", dice.Chance(0.5) ? 1999 : 27.5);
    } else {
      return false;
    }
    event->data = data.Finish();
    return true;
  }
};

}  // namespace

std::unique_ptr<Site> MakeCiaoLabellaSite() { return std::make_unique<CiaoLabellaSite>(); }

}  // namespace naru::cli
