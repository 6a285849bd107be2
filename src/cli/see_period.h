#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "cli/words.h"
#include "headscope/model.h"

/// What a table shows of labels such as "one period back".
namespace headscope::cli {

/// Rows of a table that do what a label claims: their largest weight lies where it says, as `doctor roles` counts it.
struct RowsHere {
  std::int64_t period = 0;  ///< rows; < 2: the table has none, or the label needs none
  std::int64_t hits = 0;
  std::int64_t rows = 0;  ///< that have such a key
  bool needs_period = false;
};

/// nullopt: no table of one column, a label of something else, or no row that could show it.
/// Cost  one map of the head, and period_of the column.
std::optional<RowsHere> rows_here(const Sighting& sighting, const Role& role);

/// "shown here in 12 of 243 rows (period: 12 rows)"
std::string say_rows_here(Lang lang, const RowsHere& here);

}  // namespace headscope::cli
