#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "headscope/model.h"
#include "headscope/table.h"

/// Columns of tables that go on.
namespace headscope {

struct ForecastOptions {
  std::int64_t rows = 24;
  int paths = 32;       ///< that are drawn, each a way the column may go
  double inside = 0.8;  ///< share of paths between low and high
  std::uint64_t seed = 1;
};

/// What may come after the last row, in the column's unit.
struct Forecast {
  std::vector<double> middle, low, high;  ///< median and quantiles over the paths, one a row
};

/// Reads as many of the last numbers as leave room for `rows`, and lets the column go on. NaN: a number is missing.
/// Cost    a run of those numbers and `rows` steps of `paths` sequences.
/// Errors  kInput (fewer than two numbers), kRange (no room, or options that make no sense), those of Generator.
/// Source  Ansari 2024 (Chronos) s3.3.
Forecast forecast(const Model& model,
                  const NumberCode& code,
                  std::span<const double> known,
                  const ForecastOptions& options = {});

/// The number of rows after which a column comes back to itself: the lag of the highest peak of its autocorrelation,
/// a straight line having been taken away; 1 where no peak is above .2.
/// Cost O(n^2).
std::int64_t period_of(std::span<const double> values);

/// What to compare a forecast with: the value one period ago, again and again; where it is missing the last one that
/// is there. Errors: kInput without a number.
std::vector<double> one_period_ago(std::span<const double> known,
                                   std::int64_t period,
                                   std::int64_t rows);

/// Mean of |a - b| over rows where both are there; NaN when there is none.
double mean_error(std::span<const double> a, std::span<const double> b);

}  // namespace headscope
