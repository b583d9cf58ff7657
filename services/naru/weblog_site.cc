// Visitors of a small blog, as its access log sees them. The event type and its fields are those of the built-in format
// apache-combined.
#include <algorithm>
#include <array>
#include <cmath>
#include <iterator>

#include "absl/strings/str_cat.h"
#include "common/event/event_writer.h"
#include "services/naru/visitors.h"

namespace naru::cli {
namespace {

struct Page {
  const char* path;
  double weight;
  int bytes;
};
constexpr Page kPages[] = {
    {"/", 20, 18'300},
    {"/blog/", 14, 24'100},
    {"/blog/2026/zero-waste-kitchen", 12, 31'900},
    {"/blog/2026/label-free-water", 11, 28'400},
    {"/blog/2025/recycling-in-seoul", 8, 35'700},
    {"/blog/2025/how-to-read-a-label", 6, 22'800},
    {"/shops/", 9, 40'200},
    {"/shops/mapo", 5, 15'600},
    {"/shops/seongsu", 5, 16'100},
    {"/about", 3, 9'200},
    {"/feed.xml", 7, 52'000},
};
constexpr Page kAssets[] = {
    {"/assets/style.css", 0, 12'400},
    {"/assets/site.js", 0, 48'100},
    {"/images/logo.png", 0, 6'300},
    {"/favicon.ico", 0, 3'638},
};
constexpr const char* kBrowsers[] = {
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.1 "
    "Mobile/15E148 Safari/604.1",
    "Mozilla/5.0 (Linux; Android 15; SM-S931N) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Mobile "
    "Safari/537.36",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.1 "
    "Safari/605.1.15",
    "Mozilla/5.0 (X11; Linux x86_64; rv:132.0) Gecko/20100101 Firefox/132.0",
};
constexpr double kBrowserWeights[] = {28, 30, 26, 11, 5};
constexpr const char* kBots[] = {
    "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
    "Mozilla/5.0 (compatible; Yeti/1.1; +https://naver.me/spd)",
};
constexpr const char* kReferrers[] = {"-", "https://www.google.com/", "https://search.naver.com/",
                                      "https://www.instagram.com/"};
constexpr double kReferrerWeights[] = {40, 30, 22, 8};

struct Request {
  const char* method = "GET";
  std::string path;
  int status = 200;
  int64_t bytes = 0;
  std::string referrer;
};

std::string Encode(const Request& request, absl::string_view agent) {
  std::string data;
  event::StructWriter writer(&data);
  writer.AddString("agent", agent);
  writer.AddNumber("bytes", static_cast<double>(request.bytes));
  writer.AddString("method", request.method);
  writer.AddString("path", request.path);
  writer.AddString("protocol", "HTTP/1.1");
  if (request.referrer != "-") writer.AddString("referrer", request.referrer);
  writer.AddNumber("status", request.status);
  return data;
}

// One visit as it goes on.
class LogWalk {
 public:
  LogWalk(const Visit& visit, Dice& dice, std::vector<VisitorEvent>* events)
      : dice_(dice), now_us_(visit.start_us), events_(events) {
    Dice self({visit.seed, 0x3EB, static_cast<uint64_t>(visit.member)});
    bot_ = self.Chance(0.06);
    agent_ = bot_ ? kBots[self.Below(std::size(kBots))] : kBrowsers[self.Pick(kBrowserWeights)];
    // As the format does: who it is stays recognisable, the address is not kept.
    subject_ = absl::StrCat(absl::Hex(self.Next(), absl::kZeroPad16));
    returning_ = visit.member % 3 == 0;
  }

  void Run() {
    const int64_t pages = 1 + std::min<int64_t>(static_cast<int64_t>(dice_.Exponential(bot_ ? 6 : 1.8)), 20);
    std::string referrer = bot_ ? "-" : kReferrers[dice_.Pick(kReferrerWeights)];
    for (int64_t i = 0; i < pages; ++i) referrer = See(referrer, i == 0);
  }

 private:
  // Loads a page, the first time with what it needs, and returns what the next request names as referrer.
  std::string See(const std::string& referrer, bool first) {
    double weights[std::size(kPages)];
    for (size_t i = 0; i < std::size(kPages); ++i) weights[i] = kPages[i].weight;
    const Page& page = kPages[dice_.Pick(weights)];
    if (dice_.Chance(bot_ ? 0.12 : 0.015)) {
      constexpr const char* kLost[] = {"/wp-login.php", "/blog/2019/old-post", "/images/missing.png", "/.env"};
      Add({"GET", kLost[dice_.Below(std::size(kLost))], 404, 512, referrer});
    } else if (dice_.Chance(0.002)) {
      Add({"GET", page.path, 500, 1'024, referrer});
    } else {
      const bool cached = returning_ && dice_.Chance(0.3);
      Add({"GET", page.path, cached ? 304 : 200, cached ? 0 : Around(page.bytes), referrer});
    }
    const std::string next = absl::StrCat("https://blog.example.org", page.path);
    if (!bot_ && first) {
      for (const Page& asset : kAssets) {
        now_us_ += static_cast<int64_t>(dice_.Exponential(0.05) * kSecond);
        const bool cached = returning_ && dice_.Chance(0.7);
        Add({"GET", asset.path, cached ? 304 : 200, cached ? 0 : asset.bytes, next});
      }
    }
    now_us_ += static_cast<int64_t>((1 + std::min(dice_.Exponential(bot_ ? 4 : 45), 300.0)) * kSecond);
    return bot_ ? "-" : next;
  }

  int64_t Around(int bytes) { return static_cast<int64_t>(bytes * (0.95 + 0.1 * dice_.Unit())); }
  void Add(const Request& request) { events_->push_back({now_us_, "HttpRequest", subject_, Encode(request, agent_)}); }

  Dice& dice_;
  int64_t now_us_;
  std::vector<VisitorEvent>* events_;
  bool bot_ = false;
  bool returning_ = false;
  absl::string_view agent_;
  std::string subject_;
};

class WeblogSite : public Site {
 public:
  absl::string_view pack() const override { return "weblog"; }
  absl::string_view source() const override { return "simulator/weblog"; }
  absl::string_view time_zone() const override { return "UTC"; }
  std::array<double, 24> hour_weights() const override {
    // A blog read in Korea: its evening is noon in UTC.
    return {44, 46, 48, 60, 56, 50, 48, 50, 56, 62, 70, 76, 80, 74, 60, 42, 26, 16, 12, 9, 10, 16, 28, 38};
  }
  std::array<double, 7> weekday_weights() const override { return {1.03, 1.02, 1.02, 1.0, 0.98, 0.96, 0.99}; }
  void AddVisit(const Visit& visit, Dice& dice, std::vector<VisitorEvent>* events) const override {
    LogWalk(visit, dice, events).Run();
  }

  bool Spoil(Dice& dice, VisitorEvent* event) const override {
    std::string data;
    event::StructWriter writer(&data);
    if (dice.Chance(0.5)) {
      writer.AddString("method", "GET");
      writer.AddString("path", "/");
      writer.AddString("status", "two hundred");
    } else {
      writer.AddString("method", "GET");
      writer.AddString("path", "/");
      writer.AddNumber("status", std::nan(""));
    }
    event->data = data;
    return true;
  }
};

}  // namespace

std::unique_ptr<Site> MakeWeblogSite() { return std::make_unique<WeblogSite>(); }

}  // namespace naru::cli
