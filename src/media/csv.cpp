// Tables of comma-separated values. libcsv splits them into fields; what the fields are is decided here.
#include <csv.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <exception>
#include <fstream>
#include <limits>

#include "formats/beginning.h"
#include "formats/files.h"
#include "formats/json.h"
#include "headscope/error.h"
#include "headscope/table.h"

namespace headscope {

namespace {

constexpr std::size_t kBlock = std::size_t{1} << 16;
constexpr std::size_t kMostField = std::size_t{1} << 20;
constexpr std::size_t kMostColumns = 4096;
constexpr std::size_t kMostName = 1024;  // bytes of a column's, which is asked for by it
constexpr double kNone = std::numeric_limits<double>::quiet_NaN();

std::string_view stripped(std::string_view text) {
  const auto first = text.find_first_not_of(" \t\r\n");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t\r\n") - first + 1);
}

bool says_nothing(std::string_view text) {
  if (text.size() > 4) return false;
  std::string small(text);
  for (char& c : small) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  static constexpr std::array<std::string_view, 9> kWords = {
      "", "na", "n/a", "nan", "null", "none", "-", "?", "."};
  return std::find(kWords.begin(), kWords.end(), small) != kWords.end();
}

bool read_number(std::string_view text, bool comma, double& out) {
  std::string other;
  if (comma && text.find('.') == std::string_view::npos &&
      text.find(',') != std::string_view::npos) {
    other = text;
    other[other.find(',')] = '.';
    text = other;
  }
  if (text.starts_with('+')) text.remove_prefix(1);
  double value = 0.0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || !std::isfinite(value))
    return false;
  out = value;
  return true;
}

// What separates the fields of the first line.
char separator_of(std::string_view block) {
  std::array<std::pair<char, std::int64_t>, 3> found = {{{',', 0}, {';', 0}, {'\t', 0}}};
  bool quoted = false;
  for (const char c : block) {
    if (c == '"') quoted = !quoted;
    if (quoted) continue;
    if (c == '\n' || c == '\r') break;
    for (auto& [sign, count] : found) count += c == sign ? 1 : 0;
  }
  const auto most = std::max_element(
      found.begin(), found.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
  return most->first;
}

class Reader {
 public:
  Reader(std::string_view name, const TableOptions& options) : name_(name), options_(options) {
    if (csv_init(&parser_, CSV_STRICT | CSV_STRICT_FINI | CSV_REPALL_NL | CSV_APPEND_NULL) != 0)
      throw Error(ErrorCode::kInternal, "[csv] expected a parser, found none");
  }
  Reader(const Reader&) = delete;
  Reader& operator=(const Reader&) = delete;
  ~Reader() { csv_free(&parser_); }

  void block(std::string_view text) {
    if (!begun_) {
      begun_ = true;
      if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);
      const char sign = separator_of(text);
      comma_ = sign == ';';
      csv_set_delim(&parser_, static_cast<unsigned char>(sign));
      if (sign == '\t')
        csv_set_space_func(&parser_, [](unsigned char c) { return c == ' ' ? 1 : 0; });
    }
    const std::size_t n = csv_parse(&parser_, text.data(), text.size(), on_field, on_row, this);
    if (broken_) std::rethrow_exception(broken_);
    if (n != text.size())
      fail(ErrorCode::kFormat, "a quote only around a whole field", "one inside");
    if (parser_.entry_pos > kMostField)
      fail(ErrorCode::kFormat, "fields of at most 1 MiB", "a longer one");
  }

  Table finish() {
    if (csv_fini(&parser_, on_field, on_row, this) != 0)
      fail(ErrorCode::kFormat, "a quote that ends", "the end of the file");
    if (broken_) std::rethrow_exception(broken_);
    if (columns_.empty()) {
      throw Error(
          ErrorCode::kInput,
          fmt::format("[{}] expected a header and rows of numbers, found an empty file", name_));
    }
    if (rows_ == 0) {
      throw Error(ErrorCode::kInput,
                  fmt::format("[{}] expected rows under the header, found none", name_));
    }
    trim(0);
    name_rows();
    Table table;
    table.columns = std::move(columns_);
    table.rows = std::move(labels_);
    table.first_row = dropped_;
    table.index = index_;
    return table;
  }

 private:
  [[noreturn]] void fail(ErrorCode code, std::string_view expected, std::string_view found) const {
    throw Error(
        code, fmt::format("[{}] expected {} in line {}, found {}", name_, expected, line_, found));
  }

  // Callbacks of a C library: what they throw waits until it has returned.
  static void on_field(void* text, std::size_t size, void* self) {
    auto* me = static_cast<Reader*>(self);
    if (me->broken_) return;
    try {
      me->field({static_cast<const char*>(text), size});
    } catch (...) {
      me->broken_ = std::current_exception();
    }
  }
  static void on_row(int end, void* self) {
    auto* me = static_cast<Reader*>(self);
    if (me->broken_) return;
    try {
      me->row(end);
    } catch (...) {
      me->broken_ = std::current_exception();
    }
  }

  void field(std::string_view text) {
    lines_inside_ += std::count(text.begin(), text.end(), '\n');
    text = stripped(text);
    if (fields_ >= kMostColumns) fail(ErrorCode::kFormat, "at most 4096 fields", "more");
    if (!header_) {
      columns_.push_back({std::string(beginning(text, kMostName)), {}, "", 0});
    } else if (fields_ < columns_.size()) {
      cell(columns_[fields_], text);
    }
    ++fields_;
  }

  void cell(Table::Column& column, std::string_view text) {
    if (fields_ == 0) labels_.push_back(kept_name(text));
    double value = kNone;
    if (column.numeric() && !says_nothing(text) && !read_number(text, comma_, value)) {
      column.text = beginning(text, 40);
      column.line = line_;
    }
    column.values.push_back(value);
  }

  void row(int end) {
    if (fields_ == 0) {  // an empty line, or the second half of CR LF
      if (end == '\r' || (end == '\n' && last_end_ != '\r')) ++line_;
      last_end_ = end;
      return;
    }
    last_end_ = end;
    if (!header_) {
      header_ = true;
      name_columns();
    } else {
      if (fields_ != columns_.size()) {
        fail(ErrorCode::kFormat,
             fmt::format("{} fields", columns_.size()),
             fmt::format("{}", fields_));
      }
      ++rows_;
      trim(options_.last_rows);
    }
    fields_ = 0;
    line_ += 1 + lines_inside_;
    lines_inside_ = 0;
  }

  void name_columns() {
    for (std::size_t c = 0; c < columns_.size(); ++c) {
      double number = 0.0;
      std::string& column = columns_[c].name;
      if (read_number(column, comma_, number)) {
        throw Error(ErrorCode::kInput,
                    fmt::format("[{}] expected a header with names of columns, found the number {}",
                                name_,
                                json::quote(column)));
      }
      if (column.empty()) column = fmt::format("column {}", c + 1);
    }
  }

  // Only the last rows stay; half as many again may wait until they are dropped at once.
  void trim(std::int64_t spare) {
    const auto kept = static_cast<std::int64_t>(labels_.size());
    const std::int64_t most = options_.last_rows;
    if (most > 0 && kept > most + spare) {
      const std::int64_t cut = kept - most;
      labels_.erase(labels_.begin(), labels_.begin() + cut);
      for (Table::Column& column : columns_)
        column.values.erase(column.values.begin(), column.values.begin() + cut);
      dropped_ += cut;
    }
    const auto cells = static_cast<std::int64_t>(labels_.size() * columns_.size());
    if (cells > options_.most_cells) {
      throw Error(ErrorCode::kResources,
                  fmt::format("[{}] expected at most {} cells, found more: keep only the last rows",
                              name_,
                              options_.most_cells));
    }
  }

  // The first column names the rows when it is no number, or counts up (a year) beside others.
  void name_rows() {
    const Table::Column& first = columns_.front();
    bool names = !first.numeric();
    if (!names && columns_.size() > 1) {
      names = true;
      for (std::size_t r = 0; r < first.values.size() && names; ++r) {
        names = std::isfinite(first.values[r]) && (r == 0 || first.values[r] > first.values[r - 1]);
      }
    }
    if (names) {
      index_ = 0;
      return;
    }
    for (std::size_t r = 0; r < labels_.size(); ++r)
      labels_[r] = std::to_string(dropped_ + static_cast<std::int64_t>(r) + 1);
  }

  std::string name_;
  TableOptions options_;
  csv_parser parser_{};
  std::exception_ptr broken_;
  std::vector<Table::Column> columns_;
  std::vector<std::string> labels_;
  std::size_t fields_ = 0;
  std::int64_t rows_ = 0, dropped_ = 0, line_ = 1, lines_inside_ = 0;
  int index_ = -1, last_end_ = 0;
  bool begun_ = false, header_ = false, comma_ = false;
};

// Whether numbers only count, up by one or, as where the newest rows come first, down by one: rows one by one, years that
// stay or go on (2009, 2009, 2010), or quarters that begin anew (1, 2, 3, 4, 1). Others that rise slowly are figures.
bool count_by(const std::vector<double>& x, double one) {
  for (const double v : x) {
    if (!std::isfinite(v) || v != std::floor(v)) return false;
  }
  const auto [low, high] = std::minmax_element(x.begin(), x.end());
  bool rises = *low < *high && *low >= 1500.0 && *high < 2200.0;
  bool each = true;
  bool cycles = true;
  for (std::size_t r = 1; r < x.size(); ++r) {
    const double step = (x[r] - x[r - 1]) * one;
    rises &= step == 0.0 || step == 1.0;
    each &= step == 1.0;
    cycles &= step == 1.0 || (step == *low - *high && *high - *low > 1.0);
  }
  return rises || each || cycles;
}

bool counts(const Table::Column& column) {
  return column.values.size() >= 3 &&
         (count_by(column.values, 1.0) || count_by(column.values, -1.0));
}

}  // namespace

std::string kept_name(std::string_view name) { return std::string(beginning(name, 64)); }

Table parse_csv(std::string_view text, std::string_view name, const TableOptions& options) {
  Reader reader(name, options);
  for (std::size_t at = 0; at < text.size(); at += kBlock) reader.block(text.substr(at, kBlock));
  return reader.finish();
}

Table read_csv(const std::filesystem::path& path, const TableOptions& options) {
  (void)files::open_to_read(path);  // says what is wrong with the path; refuses pipes
  std::ifstream file(path, std::ios::binary);
  Reader reader(path.string(), options);
  std::string block(kBlock, '\0');
  while (file.read(block.data(), static_cast<std::streamsize>(kBlock)) || file.gcount() > 0)
    reader.block(std::string_view(block).substr(0, static_cast<std::size_t>(file.gcount())));
  if (file.bad()) throw Error(ErrorCode::kIo, fmt::format("[{}] cannot read", path.string()));
  return reader.finish();
}

std::vector<std::size_t> columns_of(const Table& table, std::span<const std::string> names) {
  std::vector<std::size_t> out;
  const auto check = [&](std::size_t c) {
    const Table::Column& column = table.columns[c];
    if (!column.numeric()) {
      throw Error(ErrorCode::kInput,
                  fmt::format("[table] expected numbers in column {}, found {} in line {}",
                              json::quote(column.name),
                              json::quote(column.text),
                              column.line));
    }
    out.push_back(c);
  };
  if (names.empty()) {
    for (const bool any : {false, true}) {  // where all of them count, the first of these
      for (std::size_t c = 0; c < table.columns.size(); ++c) {
        const Table::Column& column = table.columns[c];
        const bool only = table.columns.size() == 1;
        if (column.numeric() && (only || static_cast<int>(c) != table.index) &&
            (any || !counts(column))) {
          check(c);
          return out;
        }
      }
    }
    check(table.columns.size() - 1);  // throws: none is numeric, or the only one names the rows
    return out;
  }
  for (const std::string& name : names) {
    const auto found = std::find_if(table.columns.begin(),
                                    table.columns.end(),
                                    [&](const Table::Column& c) { return c.name == name; });
    if (found == table.columns.end()) {
      std::string known;
      for (std::size_t c = 0; c < std::min<std::size_t>(table.columns.size(), 12); ++c)
        known += (c > 0 ? ", " : "") + json::quote(table.columns[c].name);
      if (table.columns.size() > 12) known += ", ...";
      throw Error(
          ErrorCode::kNotFound,
          fmt::format(
              "[table] expected one of the columns {}, found {}", known, json::quote(name)));
    }
    check(static_cast<std::size_t>(found - table.columns.begin()));
  }
  return out;
}

}  // namespace headscope
