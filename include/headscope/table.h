#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "headscope/sequence.h"

namespace headscope {

/// A table of numbers with names of columns and rows.
struct Table {
  struct Column {
    std::string name;
    std::vector<double>
        values;  ///< one a row; NaN where the cell is empty or says NA, NaN, null, none, - or ?
    /// A cell that is no number, and its line in the file: the column is not numeric. 0: all are numbers.
    std::string text;
    std::int64_t line = 0;
    [[nodiscard]] bool numeric() const { return line == 0; }
  };
  std::vector<Column> columns;
  std::vector<std::string>
      rows;  ///< names of rows: the first column where it tells rows apart, else 1, 2, ...
  std::int64_t first_row = 0;  ///< rows of the file in front of those kept
  int index = -1;              ///< the column that names the rows, -1: none
};

struct TableOptions {
  std::int64_t last_rows = 0;  ///< keep only so many from the end; 0: all
  std::int64_t most_cells = std::int64_t{1} << 25;
};

/// Comma-separated values with a header (RFC 4180): quoted fields, either line end, a BOM; semicolons or tabs where
/// the header has more of them (with semicolons a decimal comma is understood).
/// Cost    the file is streamed: memory is that of the cells kept, 8 bytes each, and the names of rows.
/// Errors  kInput (empty, no header, no row), kFormat (names the line: fields too many or too few, a quote that does
///         not end, a field beyond 1 MiB), kResources (too many cells: says how to keep fewer), kNotFound, kIo.
Table read_csv(const std::filesystem::path& path, const TableOptions& options = {});
Table parse_csv(std::string_view text, std::string_view name, const TableOptions& options = {});

/// What is kept of the name of a row, and shown of that of a column: whole letters of its first 64 bytes.
std::string kept_name(std::string_view name);

/// Numbers of the columns that are asked for by name; none asked: the first numeric one that names no rows and does more
/// than count (years, quarters), else the first numeric one that names no rows.
/// Errors  kNotFound (lists the columns there are), kInput (a column that is not numeric: names it, its cell, line).
std::vector<std::size_t> columns_of(const Table& table, std::span<const std::string> names);

/// How names of rows go on: dates (1961-03-24, 19610324, 24.03.1961, Mar-1-1961, 1961-03, 196103, 1961-Q1) and
/// numbers whose last steps are the same: days, working days (holidays may be missing), weeks, months, quarters,
/// years. None: they are not. Fewer than `count`: the year 9999 ends.
std::vector<std::string> rows_after(std::span<const std::string> rows, std::int64_t count);

/// How numbers become tokens, from the `media.json` beside a model: each column is divided by its mean size (or, when
/// `centred`, less its mean divided by its standard deviation), then falls into one of `bins` around evenly spaced
/// centres from low to high.
/// Why     centred: of a column that lies far from 0 the mean size says nothing about how it moves.
/// Source  Ansari 2024 (Chronos) s3.1.
struct NumberCode {
  std::int32_t bins = 1024;
  double low = -15.0, high = 15.0;
  bool centred = false;
  std::int32_t start = 0, end = 1, missing = 2, first = 3;  ///< ids; `first` is the lowest bin
  [[nodiscard]] std::int32_t vocabulary() const { return first + bins; }
};

/// Where the numbers of a column lie: x becomes (x - centre) / scale.
struct Spread {
  double centre = 0.0;
  double scale = 1.0;
};
/// Mean size (or mean and standard deviation) of the numbers that are there; scale 1 where it would be 0.
/// Numerics: in double, without overflow.
Spread spread_of(std::span<const double> values, const NumberCode& code);
/// Id of one number. Errors: kRange (the code makes no sense).
std::int32_t id_of(double value, const Spread& spread, const NumberCode& code);
/// The centre of its bin in the column's unit; NaN for ids that are no bins. Errors: kRange (an id outside the code).
double value_of(std::int32_t id, const Spread& spread, const NumberCode& code);

/// Columns of a table as tokens: [start], then row after row, the columns in order.
struct Numbers {
  std::vector<std::int32_t> ids;
  std::vector<Label> labels;    ///< "row 1961-03, column co2"
  std::vector<double> values;   ///< as in the table; NaN for [start] and where one is missing
  std::vector<Spread> spreads;  ///< one a column
};
/// `last_rows`: only so many from the end; 0: all. Errors: kRange (columns), kInput (no number at all).
Numbers ids_of(const Table& table,
               std::span<const std::size_t> columns,
               const NumberCode& code,
               std::int64_t last_rows = 0);

}  // namespace headscope
