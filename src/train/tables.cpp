// Columns of tables, for models that foretell the next number.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <utility>

#include "headscope/error.h"
#include "headscope/media.h"
#include "headscope/safetensors.h"
#include "train/draws.h"
#include "train/material.h"
#include "train/recipe_model.h"
#include "train/rows.h"

namespace headscope::train {

namespace fs = std::filesystem;

namespace {

constexpr std::int64_t kLeastContext = 24;  // numbers

struct Series {
  std::string name;
  std::vector<double> values;
  std::int64_t held = 0;  // the first that training does not see
};

/// "table.csv" or "table.csv:column".
std::vector<Series> read_series(const fs::path& named, double held) {
  const std::string text = named.string();
  const std::size_t colon = text.rfind(".csv:");
  const fs::path path = colon == std::string::npos ? text : text.substr(0, colon + 4);
  const Table table = read_csv(path);
  std::vector<std::size_t> columns;
  if (colon != std::string::npos) {
    const std::string column = text.substr(colon + 5);
    columns = columns_of(table, std::span(&column, 1));
  } else {
    for (std::size_t c = 0; c < table.columns.size(); ++c) {
      if (table.columns[c].numeric() && static_cast<int>(c) != table.index) columns.push_back(c);
    }
  }
  std::vector<Series> out;
  for (const std::size_t c : columns) {
    const auto rows = static_cast<std::int64_t>(table.columns[c].values.size());
    const auto first =
        rows - static_cast<std::int64_t>(std::floor(held * static_cast<double>(rows)));
    out.push_back(
        {path.filename().string() + ':' + table.columns[c].name, table.columns[c].values, first});
    if (first < kLeastContext + 1) {
      throw Error(ErrorCode::kInput,
                  fmt::format("[{}] expected at least {} rows to learn from, found {}",
                              path.string(),
                              kLeastContext + 1,
                              first));
    }
  }
  if (out.empty())
    throw Error(ErrorCode::kInput,
                fmt::format("[{}] expected a numeric column, found none", path.string()));
  return out;
}

/// [start] and numbers, each foretold from those before it. What makes them comparable is taken from the first
/// `known` of them, as it is when the others lie in the future.
void add(std::span<const double> values,
         std::size_t known,
         std::size_t asked,
         const NumberCode& code,
         Rows& rows) {
  const Spread spread = spread_of(values.first(known), code);
  std::int32_t id = code.start;
  for (std::size_t i = 0; i < values.size(); ++i) {
    const std::int32_t next = id_of(values[i], spread, code);
    rows.add(id, i >= asked && next != code.missing ? next : kNoLabel);
    id = next;
  }
  rows.end_sequence();
}

class TableSource final : public Source {
 public:
  TableSource(std::vector<Series> series, const Recipe& recipe, const NumberCode& code)
      : series_(std::move(series)), data_(recipe.data), code_(code), seed_(recipe.training.seed) {
    const auto& training = recipe.training;
    each_ = static_cast<std::uint64_t>(
        std::max<std::int64_t>(1, training.batch_tokens / training.accumulate / data_.window));
  }
  [[nodiscard]] Batch batch(std::uint64_t n) const override {
    Rows rows;
    for (std::uint64_t i = n * each_; i < (n + 1) * each_; ++i) add_window(draw(seed_, i), rows);
    return rows.batch();
  }
  [[nodiscard]] std::uint64_t pass() const override { return 1; }

 private:
  /// A made series, or a stretch of a real one, by chance; contexts of all lengths, short ones seldom.
  void add_window(std::uint64_t chance, Rows& rows) const {
    const std::int64_t most = data_.window - data_.horizon;
    const std::int64_t least = std::min(kLeastContext, most);
    const double part = std::sqrt(unit(draw(chance, 0)));
    std::int64_t known =
        least + static_cast<std::int64_t>(part * static_cast<double>(most - least + 1));
    if (series_.empty() || unit(draw(chance, 1)) < data_.made) {
      std::vector<double> made(static_cast<std::size_t>(known + data_.horizon));
      make_series(made, draw(chance, 2));
      return add(made, static_cast<std::size_t>(known), 1, code_, rows);
    }
    const Series& one = series_[below(draw(chance, 3), series_.size())];
    known = std::min(known, one.held - 1);
    const std::int64_t length = std::min(known + data_.horizon, one.held);
    const auto places = static_cast<std::uint64_t>(one.held - length + 1);
    const auto from = static_cast<std::size_t>(below(draw(chance, 4), places));
    add(std::span(one.values).subspan(from, static_cast<std::size_t>(length)),
        static_cast<std::size_t>(known),
        1,
        code_,
        rows);
  }

  std::vector<Series> series_;
  decltype(Recipe::data) data_;
  NumberCode code_;
  std::uint64_t seed_;
  std::uint64_t each_ = 1;
};

/// Horizon after horizon of the rows held back, one a batch.
class TableTest final : public Source {
 public:
  TableTest(std::vector<Series> series, const Recipe& recipe, const NumberCode& code)
      : series_(std::move(series)), code_(code) {
    const std::int64_t horizon = recipe.data.horizon;
    for (std::size_t s = 0; s < series_.size(); ++s) {
      const auto rows = static_cast<std::int64_t>(series_[s].values.size());
      for (std::int64_t at = series_[s].held; at < rows; at += horizon) {
        const std::int64_t from = std::max<std::int64_t>(0, at - (recipe.data.window - horizon));
        parts_.push_back({s, from, at, std::min(rows, at + horizon)});
      }
    }
  }
  [[nodiscard]] Batch batch(std::uint64_t n) const override {
    Rows rows;
    const Part& part = parts_.at(n);
    const auto known = static_cast<std::size_t>(part.at - part.from);
    add(std::span(series_[part.series].values)
            .subspan(static_cast<std::size_t>(part.from),
                     static_cast<std::size_t>(part.to - part.from)),
        known,
        known,
        code_,
        rows);
    return rows.batch();
  }
  [[nodiscard]] std::uint64_t pass() const override { return parts_.size(); }

 private:
  struct Part {
    std::size_t series = 0;
    std::int64_t from = 0, at = 0, to = 0;
  };
  std::vector<Series> series_;
  std::vector<Part> parts_;
  NumberCode code_;
};

/// Numbers by chance, one after the other.
class Chance {
 public:
  explicit Chance(std::uint64_t seed) : seed_(seed) {}
  double even() { return unit(draw(seed_, n_++)); }
  double even(double from, double to) { return from + (to - from) * even(); }
  /// Evenly in the logarithm.
  double size(double from, double to) { return from * std::pow(to / from, even()); }
  /// Normal, by Box and Muller.
  double normal() {
    const double radius = std::sqrt(-2.0 * std::log(1.0 - even()));
    return radius * std::cos(2.0 * std::numbers::pi * even());
  }

 private:
  std::uint64_t seed_, n_ = 0;
};

/// A wave of any shape: a sum of overtones, each fainter.
void add_period(std::span<double> to, Chance& chance) {
  const double drawn = chance.size(3.0, 80.0);
  const double period = chance.even() < 0.7 ? std::round(drawn) : drawn;
  const double size = chance.size(0.2, 2.0);
  const double growth = chance.even() < 0.2 ? chance.even(-0.5, 1.5) : 0.0;
  const double fainter = chance.even(0.2, 0.8);
  const auto tones = static_cast<int>(std::min(6.0, std::floor(period / 2.0)));
  double amplitude = size;
  for (int k = 1; k <= tones; ++k, amplitude *= fainter) {
    const double wave = amplitude * chance.normal();
    const double phase = chance.even(0.0, 2.0 * std::numbers::pi);
    for (std::size_t i = 0; i < to.size(); ++i) {
      const auto t = static_cast<double>(i);
      const double grown = 1.0 + growth * t / static_cast<double>(to.size());
      to[i] += grown * wave * std::sin(2.0 * std::numbers::pi * k * t / period + phase);
    }
  }
}

}  // namespace

void make_series(std::span<double> to, std::uint64_t seed) {
  Chance chance(seed);
  std::fill(to.begin(), to.end(), 0.0);
  const double waves = chance.even();
  if (waves > 0.1) add_period(to, chance);
  if (waves > 0.75) add_period(to, chance);
  const double slope = chance.even() < 0.4 ? 0.0 : chance.normal() * chance.size(0.1, 4.0);
  const double noise = chance.size(0.005, 0.6);
  const double lingers = chance.even() < 0.4 ? 0.0 : chance.even(0.3, 1.0);
  double linger = 0.0;
  for (std::size_t i = 0; i < to.size(); ++i) {
    linger = lingers * linger + noise * std::sqrt(1.0 - 0.9 * lingers) * chance.normal();
    to[i] += slope * static_cast<double>(i) / static_cast<double>(to.size()) + linger;
  }
  // Some lie above 0 and have sharp tops, as counts and prices do.
  if (chance.even() < 0.3) {
    const double sharp = chance.even(0.2, 0.8);
    for (double& x : to) x = std::exp(sharp * std::clamp(x, -6.0, 6.0));
  }
}

Material table_material(const Recipe& recipe, const fs::path& folder) {
  const SequenceCode code = code_of(recipe);
  Material out;
  out.config = config_of(recipe, code);
  const auto& data = recipe.data;
  std::vector<Series> series;
  out.key = fmt::format("{} {} {} {}", data.held, data.horizon, data.made, recipe.code);
  for (const fs::path& path : data.train) {
    for (Series& one : read_series(path, data.held)) {
      out.key += fmt::format("{} {}\n", one.name, one.values.size());
      series.push_back(std::move(one));
    }
  }
  const bool held = std::any_of(series.begin(), series.end(), [](const Series& one) {
    return one.held < static_cast<std::int64_t>(one.values.size());
  });
  if (held) out.valid = std::make_unique<TableTest>(series, recipe, *code.numbers);
  out.train = std::make_unique<TableSource>(std::move(series), recipe, *code.numbers);
  write_file(folder / "media.json", std::string_view(recipe.code));
  return out;
}

}  // namespace headscope::train
