#pragma once

#include <toml++/toml.h>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "headscope/error.h"

/// The tables of a recipe as its reader meets them: every complaint says file, line and column.
namespace headscope::train {

struct Place {
  std::string file;
  toml::source_region region;
};

/// kFormat: "[file:line:column] expected ..., found ...".
Error wrong(const Place& place, std::string_view expected, std::string_view found);

/// A value as messages show it.
std::string describe(const toml::node& node);

/// Parses TOML. Errors: kFormat with file, line and column.
toml::table parsed_table(std::string_view text, const std::filesystem::path& path);

/// One table of a recipe, which remembers what was asked for: the rest is unknown. All readers
/// leave a value as it is where the key is absent. Errors of all: kFormat.
class Table {
 public:
  Table(std::string file, const toml::table* table, std::string name)
      : file_(std::move(file)), table_(table), name_(std::move(name)) {}

  [[nodiscard]] bool given() const { return table_ != nullptr; }
  [[nodiscard]] Place place(const toml::node& node) const { return {file_, node.source()}; }
  [[nodiscard]] Place place() const {
    return {file_, table_ != nullptr ? table_->source() : toml::source_region{{1, 1}, {1, 1}, {}}};
  }
  /// Of a key's value, else of the table.
  [[nodiscard]] Place place(const std::string& key) const;
  [[nodiscard]] std::vector<std::string> keys() const;

  /// Keys that are known though nobody has asked for them yet.
  void know(std::initializer_list<const char*> keys) {
    for (const char* key : keys) known_.insert(key);
  }

  const toml::node* find(const std::string& key);
  Table table(const std::string& key);

  /// Names a key that is nearly this one, where there is one: [model] may hold any.
  [[noreturn]] void missing(const std::string& key, std::string_view what) const;

  /// A text, one of `allowed` when that is not empty.
  std::optional<std::string> text(const std::string& key,
                                  const std::vector<std::string>& allowed = {});
  void integer(const std::string& key, std::int64_t& value, std::int64_t least, std::int64_t most);
  void truth(const std::string& key, bool& value);

  template <typename T>
  void number(const std::string& key, T& value, double least, double most) {
    const toml::node* node = find(key);
    if (node != nullptr) value = static_cast<T>(as_number(*node, key, least, most));
  }
  [[nodiscard]] double as_number(const toml::node& node,
                                 const std::string& what,
                                 double least,
                                 double most) const;

  /// An array that must hold something; nullptr where the key is absent.
  const toml::array* array(const std::string& key);

  /// The key's value as JSON. Errors: what JSON cannot hold (dates, nan).
  nlohmann::ordered_json json(const std::string& key);

  /// Errors: a key that nobody asked for, with the nearest one that there is.
  void finish() const;

  /// Whether a table may hold keys that nobody reads, as a config.json may.
  enum class Keys : std::uint8_t { kAny, kThoseRead };

  /// Does what finds out whether the table makes sense.
  /// Errors: a key that was not read (json::Asked) but is nearly one that was, or that was not read at all where
  /// those alone may be; else those of `work` with the place in the recipe of the key that the message names.
  void check(const std::function<void()>& work, Keys keys = Keys::kAny) const;

 private:
  using Names = std::set<std::string, std::less<>>;
  void refuse_misspelt(const Names& asked) const;
  void refuse_others(const Names& known) const;
  [[nodiscard]] std::string about(std::string_view message) const;
  [[nodiscard]] Place key_place(const std::string& name) const;

  std::string file_;
  const toml::table* table_;
  std::string name_;
  std::set<std::string> known_;
};

}  // namespace headscope::train
