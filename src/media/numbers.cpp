// Numbers of a table as tokens: scaled by their mean size and put into bins.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "headscope/error.h"
#include "headscope/table.h"

namespace headscope {

namespace {

void check_code(const NumberCode& code) {
  if (code.bins >= 2 && code.bins <= (1 << 24) && std::isfinite(code.low) &&
      std::isfinite(code.high) && code.low < code.high && code.first >= 0) {
    return;
  }
  throw Error(ErrorCode::kRange,
              fmt::format("[numbers] expected 2 to 16777216 bins between two numbers, found {} "
                          "from {} to {}",
                          code.bins,
                          code.low,
                          code.high));
}

}  // namespace

Spread spread_of(std::span<const double> values, const NumberCode& code) {
  // In units of the largest number: squares of numbers near the largest double would overflow.
  double most = 0.0;
  double count = 0.0;
  for (const double x : values) {
    if (!std::isfinite(x)) continue;
    most = std::max(most, std::abs(x));
    count += 1.0;
  }
  if (most == 0.0) return {};
  double mean = 0.0;
  double size = 0.0;
  for (const double x : values) {
    if (!std::isfinite(x)) continue;
    mean += x / most / count;
    size += std::abs(x) / most / count;
  }
  // The least numbers of all have parts that are 0.
  constexpr double kLeast = std::numeric_limits<double>::min();
  if (!code.centred) return {0.0, std::max(size * most, kLeast)};
  double square = 0.0;
  for (const double x : values) {
    if (std::isfinite(x)) square += (x / most - mean) * (x / most - mean) / count;
  }
  // Numbers that are all the same differ by rounding alone.
  const double scale = std::sqrt(square);
  return {mean * most, scale > 1e-12 ? std::max(scale * most, kLeast) : 1.0};
}

std::int32_t id_of(double value, const Spread& spread, const NumberCode& code) {
  check_code(code);
  if (std::isnan(value)) return code.missing;
  // Borders of bins lie halfway between centres.
  const double at = ((value - spread.centre) / spread.scale - code.low) / (code.high - code.low) *
                    (code.bins - 1);
  const double bin = std::clamp(std::floor(at + 0.5), 0.0, static_cast<double>(code.bins - 1));
  return code.first + static_cast<std::int32_t>(bin);
}

double value_of(std::int32_t id, const Spread& spread, const NumberCode& code) {
  check_code(code);
  if (id < 0 || id >= code.vocabulary()) {
    throw Error(ErrorCode::kRange,
                fmt::format("[numbers] expected ids 0..{}, found {}", code.vocabulary() - 1, id));
  }
  if (id < code.first) return std::numeric_limits<double>::quiet_NaN();
  const double part = static_cast<double>(id - code.first) / (code.bins - 1);
  return spread.centre + spread.scale * (code.low + part * (code.high - code.low));
}

Numbers ids_of(const Table& table,
               std::span<const std::size_t> columns,
               const NumberCode& code,
               std::int64_t last_rows) {
  const auto rows = static_cast<std::int64_t>(table.rows.size());
  const std::int64_t from = last_rows > 0 ? std::max<std::int64_t>(rows - last_rows, 0) : 0;
  Numbers out;
  bool any = false;
  std::vector<std::string> names;
  for (const std::size_t c : columns) {
    if (c >= table.columns.size()) {
      throw Error(ErrorCode::kRange,
                  fmt::format("[numbers] expected columns 0..{}, found {}",
                              static_cast<std::int64_t>(table.columns.size()) - 1,
                              c));
    }
    const auto values = std::span(table.columns[c].values).subspan(static_cast<std::size_t>(from));
    any |= std::any_of(values.begin(), values.end(), [](double x) { return std::isfinite(x); });
    out.spreads.push_back(spread_of(values, code));
    names.push_back(kept_name(table.columns[c].name));
  }
  if (!any) throw Error(ErrorCode::kInput, "[numbers] expected numbers, found none");
  out.ids.push_back(code.start);
  out.labels.push_back({"[start]", 0, 0, -1, true});
  out.values.push_back(std::numeric_limits<double>::quiet_NaN());
  for (std::int64_t r = from; r < rows; ++r) {
    for (std::size_t n = 0; n < columns.size(); ++n) {
      const Table::Column& column = table.columns[columns[n]];
      const double value = column.values[static_cast<std::size_t>(r)];
      Label label;
      label.text =
          fmt::format("row {}, column {}", table.rows[static_cast<std::size_t>(r)], names[n]);
      label.word = static_cast<std::int64_t>(out.ids.size()) - 1;
      label.row = static_cast<int>(r - from);
      label.column = static_cast<int>(n);
      out.ids.push_back(id_of(value, out.spreads[n], code));
      out.labels.push_back(std::move(label));
      out.values.push_back(value);
    }
  }
  return out;
}

}  // namespace headscope
