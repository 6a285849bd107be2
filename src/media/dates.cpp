// Names of rows that count or are dates, and how they go on.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>
#include <optional>
#include <utility>

#include "headscope/table.h"

namespace headscope {

namespace {

namespace chrono = std::chrono;

constexpr std::array<std::string_view, 12> kMonths = {
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};

enum class Form : std::uint8_t {
  kDay,       // 1961-03-24, 1961/03/24
  kCompact,   // 19610324
  kDayFirst,  // 24.03.1961
  kNamed,     // Mar-1-1961, Mar-01-1961
  kMonth,     // 1961-03, 196103
  kQuarter,   // 1961-Q1, 1961Q1
  kCount,     // 1961, or any number
};

struct Moment {
  Form form = Form::kCount;
  char mark = 0;                  // what stands between the parts
  std::int64_t count = 0;         // days, months, quarters, or the number itself
  chrono::year_month_day date{};  // of forms with a day
  bool padded = false;            // a named day below 10 has its zero
};

// The last one that four digits hold; chrono::year would wrap at 16 bits.
constexpr int kLastYear = 9999;

bool has_day(Form form) { return form < Form::kMonth; }

// Takes this many digits (0: all there are, at most nine) from the front.
std::optional<int> digits(std::string_view& text, std::size_t count) {
  std::size_t n = 0;
  while (n < text.size() && n < (count == 0 ? 9 : count) && text[n] >= '0' && text[n] <= '9') ++n;
  if (n == 0 || (count > 0 && n < count)) return std::nullopt;
  int out = 0;
  std::from_chars(text.data(), text.data() + n, out);
  text.remove_prefix(n);
  return out;
}

char one_of(std::string_view& text, std::string_view signs) {
  if (text.empty() || signs.find(text.front()) == signs.npos) return 0;
  const char out = text.front();
  text.remove_prefix(1);
  return out;
}

std::optional<Moment> day_of(Form form, char mark, int year, int month, int day) {
  Moment out{form, mark, 0, {}, false};
  out.date = chrono::year(year) / chrono::month(static_cast<unsigned>(month)) /
             chrono::day(static_cast<unsigned>(day));
  if (!out.date.ok()) return std::nullopt;
  out.count = chrono::sys_days(out.date).time_since_epoch().count();
  return out;
}

// Mar-1-1961
std::optional<Moment> named(std::string_view text) {
  const auto* const found = std::find(kMonths.begin(), kMonths.end(), text.substr(0, 3));
  if (found == kMonths.end()) return std::nullopt;
  text.remove_prefix(3);
  const char mark = one_of(text, "- /");
  const bool padded = text.starts_with('0');
  const auto day = digits(text, 0);
  // chrono::day would wrap at 8 bits.
  if (mark == 0 || !day || *day > 31 || one_of(text, std::string_view(&mark, 1)) == 0)
    return std::nullopt;
  const auto year = digits(text, 4);
  if (!year || !text.empty()) return std::nullopt;
  const int month = static_cast<int>(found - kMonths.begin()) + 1;
  auto out = day_of(Form::kNamed, mark, *year, month, *day);
  if (out) out->padded = padded;
  return out;
}

// 24.03.1961
std::optional<Moment> day_first(std::string_view text) {
  const auto day = digits(text, 2);
  if (!day || one_of(text, ".") == 0) return std::nullopt;
  const auto month = digits(text, 2);
  if (!month || one_of(text, ".") == 0) return std::nullopt;
  const auto year = digits(text, 4);
  if (!year || !text.empty()) return std::nullopt;
  return day_of(Form::kDayFirst, '.', *year, *month, *day);
}

// What begins with four digits of a year. Numbers are no dates: 000101 (of row 101) and 2000.01 (decimal).
std::optional<Moment> year_first(std::string_view text) {
  const bool zero = text.starts_with('0');
  const auto year = digits(text, 4);
  if (!year) return std::nullopt;
  const char mark = one_of(text, "-/.");
  if (one_of(text, "Q") != 0) {
    const auto quarter = digits(text, 1);
    if (!quarter || !text.empty() || *quarter < 1 || *quarter > 4) return std::nullopt;
    return Moment{Form::kQuarter, mark, *year * 4 + *quarter - 1, {}, false};
  }
  const auto month = digits(text, 2);
  if (!month || *month < 1 || *month > 12 || (mark == 0 && zero)) return std::nullopt;
  if (text.empty()) {
    if (mark == '.') return std::nullopt;
    return Moment{Form::kMonth, mark, *year * 12 + *month - 1, {}, false};
  }
  if (mark != 0 && one_of(text, std::string_view(&mark, 1)) == 0) return std::nullopt;
  const auto day = digits(text, 2);
  if (!day || !text.empty()) return std::nullopt;
  return day_of(mark == 0 ? Form::kCompact : Form::kDay, mark, *year, *month, *day);
}

std::optional<Moment> date(const std::string& text) {
  for (const auto& read : {named, day_first, year_first}) {
    if (const auto found = read(text)) return found;
  }
  return std::nullopt;
}

std::optional<Moment> number(const std::string& text) {
  std::string_view left = text;
  const auto found = digits(left, 0);
  if (!found || !left.empty() || (text.size() > 1 && text.front() == '0')) return std::nullopt;
  return Moment{Form::kCount, 0, *found, {}, false};
}

// Whether six digits are months rather than numbers of rows, of which the ends of years tell: 100001 is of no year that
// a table is about, 202001 to 202011 may be either, and then neither is known.
enum class Months : std::uint8_t { kYes, kNo, kPerhaps };
Months are_months(std::span<const Moment> all) {
  constexpr std::int64_t kFirst = 1800 * 12, kEnd = 2200 * 12;
  if (all[0].form != Form::kMonth || all[0].mark != 0) return Months::kYes;
  const auto [least, most] = std::minmax_element(
      all.begin(), all.end(), [](const Moment& a, const Moment& b) { return a.count < b.count; });
  if (least->count < kFirst || most->count >= kEnd) return Months::kNo;
  return least->count / 12 == most->count / 12 ? Months::kPerhaps : Months::kYes;
}

// All rows as dates of one form, else all as numbers: 202312 is a month, but not beside 202313. None: neither.
std::vector<Moment> moments_of(std::span<const std::string> rows) {
  for (const auto& read : {date, number}) {
    std::vector<Moment> out;
    for (const std::string& row : rows) {
      const auto found = read(row);
      if (!found || (!out.empty() && (found->form != out[0].form || found->mark != out[0].mark)))
        break;
      out.push_back(*found);
    }
    if (out.size() != rows.size()) continue;
    const Months months = are_months(out);
    if (months == Months::kYes) return out;
    if (months == Months::kPerhaps) return {};
  }
  return {};
}

std::string text_of(const Moment& m) {
  const std::string mark = m.mark == 0 ? "" : std::string(1, m.mark);
  const int year = static_cast<int>(m.date.year());
  const auto month = static_cast<unsigned>(m.date.month());
  const auto day = static_cast<unsigned>(m.date.day());
  switch (m.form) {
    case Form::kDay:
    case Form::kCompact:
      return fmt::format("{:04}{}{:02}{}{:02}", year, mark, month, mark, day);
    case Form::kDayFirst:
      return fmt::format("{:02}.{:02}.{:04}", day, month, year);
    case Form::kNamed:
      return fmt::format(
          "{}{}{:0{}}{}{:04}", kMonths.at(month - 1), mark, day, m.padded ? 2 : 1, mark, year);
    case Form::kMonth:
      return fmt::format("{:04}{}{:02}", m.count / 12, mark, m.count % 12 + 1);
    case Form::kQuarter:
      return fmt::format("{:04}{}Q{}", m.count / 4, mark, m.count % 4 + 1);
    case Form::kCount:
      break;
  }
  return fmt::format("{}", m.count);
}

std::int64_t months_of(const Moment& m) {
  return std::int64_t{static_cast<int>(m.date.year())} * 12 +
         static_cast<unsigned>(m.date.month()) - 1;
}

bool is_last_day(const Moment& m) {
  return m.date.day() ==
         chrono::year_month_day_last(m.date.year() / m.date.month() / chrono::last).day();
}

// The distance from each to the next, when it is one and the same; else 0.
template <typename Place>
std::int64_t step_of(std::span<const Moment> all, const Place& place) {
  const std::int64_t step = place(all[1]) - place(all[0]);
  for (std::size_t i = 1; i + 1 < all.size(); ++i) {
    if (place(all[i + 1]) - place(all[i]) != step) return 0;
  }
  return std::max<std::int64_t>(step, 0);
}

bool one_day(std::span<const Moment> all) {
  return std::all_of(
      all.begin(), all.end(), [&](const Moment& m) { return m.date.day() == all[0].date.day(); });
}

bool last_days(std::span<const Moment> all) {
  return std::all_of(all.begin(), all.end(), is_last_day);
}

// The same day of every so many months, or always the last one.
std::int64_t step_in_months(std::span<const Moment> all) {
  return one_day(all) || last_days(all) ? step_of(all, months_of) : 0;
}

// From Monday, 0, to Sunday, 6.
std::int64_t weekday_of(const Moment& m) {
  return chrono::weekday(chrono::sys_days(m.date)).iso_encoding() - 1;
}

// Working days one after another, but for holidays: 1 to 4 on, three of four times 1. Each of the five is there:
// a class from Tuesday to Thursday has no Friday to come.
bool are_working_days(std::span<const Moment> all) {
  constexpr std::int64_t kMonday = -3;  // 1969-12-29, days since 1970
  std::array<bool, 7> seen{};
  std::int64_t before = 0;
  std::size_t next = 0;  // steps of 1
  for (std::size_t i = 0; i < all.size(); ++i) {
    const std::int64_t weekday = weekday_of(all[i]);
    seen.at(static_cast<std::size_t>(weekday)) = true;
    const std::int64_t at = (all[i].count - weekday - kMonday) / 7 * 5 + weekday;
    const std::int64_t step = at - std::exchange(before, at);
    if (i > 0 && (step < 1 || step > 4)) return false;
    if (i > 0 && step == 1) ++next;
  }
  return seen == std::array{true, true, true, true, true, false, false} &&
         next * 4 >= (all.size() - 1) * 3;
}

// What lies between a row and the next: an even step, months to the same or the last day, or a working day.
enum class Pace : std::uint8_t { kEven, kSameDay, kLastDay, kWorkingDay };

struct Step {
  Pace pace = Pace::kEven;
  std::int64_t size = 0;
};

// size 0: none that can be told.
Step step_between(std::span<const Moment> all) {
  if (has_day(all[0].form)) {
    const std::int64_t months = step_in_months(all);
    // The 28th of February, year after year, is a day; 30 June and 30 September are ends of months.
    const bool last = last_days(all) && (months % 12 != 0 || !one_day(all));
    if (months > 0) return {last ? Pace::kLastDay : Pace::kSameDay, months};
    if (are_working_days(all)) return {Pace::kWorkingDay, 1};
  }
  return {Pace::kEven, step_of(all, [](const Moment& m) { return m.count; })};
}

std::optional<Moment> months_on(const Moment& from, std::int64_t months, bool last_day) {
  Moment out = from;
  const std::int64_t at = months_of(from) + months;
  if (at / 12 > kLastYear) return std::nullopt;
  const auto month = chrono::year(static_cast<int>(at / 12)) / static_cast<int>(at % 12 + 1);
  const chrono::year_month_day last(month / chrono::last);
  out.date = last_day ? last : std::min(month / from.date.day(), last);
  return out;
}

std::optional<Moment> days_on(const Moment& from, std::int64_t days) {
  constexpr auto kLast =
      chrono::sys_days(chrono::year(kLastYear) / chrono::December / 31).time_since_epoch().count();
  Moment out = from;
  out.count += days;
  if (out.count > kLast) return std::nullopt;
  out.date = chrono::year_month_day(chrono::sys_days(chrono::days(out.count)));
  return out;
}

// Months, quarters, numbers.
std::optional<Moment> count_on(const Moment& from, std::int64_t count) {
  Moment out = from;
  out.count += count;
  if (from.form == Form::kMonth && out.count / 12 > kLastYear) return std::nullopt;
  if (from.form == Form::kQuarter && out.count / 4 > kLastYear) return std::nullopt;
  return out;
}

// The moment n steps on; none past the last year.
std::optional<Moment> ahead(const Moment& from, const Step& step, std::int64_t n) {
  switch (step.pace) {
    case Pace::kSameDay:
    case Pace::kLastDay:
      return months_on(from, n * step.size, step.pace == Pace::kLastDay);
    case Pace::kWorkingDay:
      return days_on(from, n + (weekday_of(from) + n) / 5 * 2);
    case Pace::kEven:
      break;
  }
  return has_day(from.form) ? days_on(from, n * step.size) : count_on(from, n * step.size);
}

}  // namespace

std::vector<std::string> rows_after(std::span<const std::string> rows, std::int64_t count) {
  // Regular of late is enough: a gap of long ago says nothing about what comes.
  constexpr std::size_t kLooked = 25;
  if (rows.size() < 3) return {};
  const std::vector<Moment> all = moments_of(rows.last(std::min(rows.size(), kLooked)));
  if (all.empty()) return {};
  const Step step = step_between(all);
  if (step.size == 0) return {};
  Moment last = all.back();
  last.padded = std::any_of(all.begin(), all.end(), [](const Moment& m) { return m.padded; });
  std::vector<std::string> out;
  for (std::int64_t n = 1; n <= count; ++n) {
    const auto next = ahead(last, step, n);
    if (!next) break;
    out.push_back(text_of(*next));
  }
  return out;
}

}  // namespace headscope
