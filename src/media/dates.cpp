// Names of rows that count or are dates, and how they go on.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>
#include <optional>

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
  kNamed,     // Mar-1-1961
  kMonth,     // 1961-03
  kQuarter,   // 1961-Q1, 1961Q1
  kCount,     // 1961, or any number
};

struct Moment {
  Form form = Form::kCount;
  char mark = 0;                  // what stands between the parts
  std::int64_t count = 0;         // days, months, quarters, or the number itself
  chrono::year_month_day date{};  // of forms with a day
};

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
  Moment out{form, mark, 0, {}};
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
  const auto day = digits(text, 0);
  if (mark == 0 || !day || one_of(text, std::string_view(&mark, 1)) == 0) return std::nullopt;
  const auto year = digits(text, 4);
  if (!year || !text.empty()) return std::nullopt;
  const int month = static_cast<int>(found - kMonths.begin()) + 1;
  return day_of(Form::kNamed, mark, *year, month, *day);
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

// What begins with four digits of a year.
std::optional<Moment> year_first(std::string_view text) {
  const bool compact = text.size() == 8;
  const auto year = digits(text, 4);
  if (!year) return std::nullopt;
  const char mark = one_of(text, "-/.");
  if (one_of(text, "Q") != 0) {
    const auto quarter = digits(text, 1);
    if (!quarter || !text.empty() || *quarter < 1 || *quarter > 4) return std::nullopt;
    return Moment{Form::kQuarter, mark, *year * 4 + *quarter - 1, {}};
  }
  const auto month = digits(text, 2);
  if (!month || *month < 1 || *month > 12 || (mark == 0 && !compact)) return std::nullopt;
  if (text.empty()) return Moment{Form::kMonth, mark, *year * 12 + *month - 1, {}};
  if (mark != 0 && one_of(text, std::string_view(&mark, 1)) == 0) return std::nullopt;
  const auto day = digits(text, 2);
  if (!day || !text.empty()) return std::nullopt;
  return day_of(mark == 0 ? Form::kCompact : Form::kDay, mark, *year, *month, *day);
}

std::optional<Moment> moment_of(const std::string& text) {
  for (const auto& read : {named, day_first, year_first}) {
    if (const auto found = read(text)) return found;
  }
  std::string_view left = text;
  const auto number = digits(left, 0);
  if (!number || !left.empty() || (text.size() > 1 && text.front() == '0')) return std::nullopt;
  return Moment{Form::kCount, 0, *number, {}};
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
      return fmt::format("{}{}{}{}{:04}", kMonths.at(month - 1), mark, day, mark, year);
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

// The same day of every so many months, or always the last one.
std::int64_t step_in_months(std::span<const Moment> all) {
  if (!has_day(all[0].form)) return 0;
  const bool same = std::all_of(
      all.begin(), all.end(), [&](const Moment& m) { return m.date.day() == all[0].date.day(); });
  if (!same && !std::all_of(all.begin(), all.end(), is_last_day)) return 0;
  return step_of(all, months_of);
}

Moment months_on(const Moment& from, std::int64_t months, bool last_day) {
  Moment out = from;
  const std::int64_t at = months_of(from) + months;
  const auto month = chrono::year(static_cast<int>(at / 12)) / static_cast<int>(at % 12 + 1);
  const chrono::year_month_day last(month / chrono::last);
  out.date = last_day ? last : std::min(month / from.date.day(), last);
  return out;
}

}  // namespace

std::vector<std::string> rows_after(std::span<const std::string> rows, std::int64_t count) {
  // Regular of late is enough: a gap of long ago says nothing about what comes.
  constexpr std::size_t kLooked = 25;
  if (rows.size() < 3) return {};
  std::vector<Moment> all;
  for (const std::string& row : rows.last(std::min(rows.size(), kLooked))) {
    const auto found = moment_of(row);
    if (!found || (!all.empty() && (found->form != all[0].form || found->mark != all[0].mark)))
      return {};
    all.push_back(*found);
  }
  const std::int64_t months = step_in_months(all);
  const std::int64_t step = step_of(all, [](const Moment& m) { return m.count; });
  if (months == 0 && step == 0) return {};
  const bool last_day = std::all_of(
      all.begin(), all.end(), [](const Moment& m) { return has_day(m.form) && is_last_day(m); });
  std::vector<std::string> out;
  for (std::int64_t n = 1; n <= count; ++n) {
    Moment next = all.back();
    if (months > 0) {
      next = months_on(next, n * months, last_day);
    } else {
      next.count += n * step;
      if (has_day(next.form))
        next.date = chrono::year_month_day(chrono::sys_days(chrono::days(next.count)));
    }
    out.push_back(text_of(next));
  }
  return out;
}

}  // namespace headscope
