#include "train/recipe_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cmath>
#include <utility>

#include "formats/edit_distance.h"
#include "formats/json.h"

namespace headscope::train {

namespace fs = std::filesystem;

namespace {

constexpr std::string_view kExpected = "expected ";

/// What may be a key or a value of a message.
std::set<std::string> words_of(std::string_view message) {
  const auto inside = [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_' || c == '-' || c == '.';
  };
  std::set<std::string> out;
  for (std::size_t at = 0; at < message.size(); ++at) {
    const std::size_t begin = at;
    while (at < message.size() && inside(message[at])) ++at;
    std::string word(message.substr(begin, at - begin));
    while (word.ends_with('.')) word.pop_back();
    if (!word.empty()) out.insert(std::move(word));
  }
  return out;
}

nlohmann::ordered_json json_of(const toml::node& node, const Table& table) {
  using Json = nlohmann::ordered_json;
  if (const auto* text = node.as_string()) return text->get();
  if (const auto* number = node.as_integer()) return number->get();
  if (const auto* truth = node.as_boolean()) return truth->get();
  if (const auto* number = node.as_floating_point()) {
    if (std::isfinite(number->get())) return number->get();
  }
  if (const auto* array = node.as_array()) {
    Json out = Json::array();
    for (const toml::node& element : *array) out.push_back(json_of(element, table));
    return out;
  }
  if (const auto* inner = node.as_table()) {
    // Keys of an ordered object are looked for one by one; no config.json has a tenth of these.
    constexpr std::size_t kMostKeys = 1000;
    if (inner->size() > kMostKeys)
      throw wrong(table.place(node),
                  fmt::format("at most {} keys in a table", kMostKeys),
                  std::to_string(inner->size()));
    Json out = Json::object();
    for (const auto& [key, value] : *inner) out[std::string(key.str())] = json_of(value, table);
    return out;
  }
  throw wrong(table.place(node), "what config.json can hold", describe(node));
}

// "[recipe.toml:3:1]"
std::string mark(const Place& place) {
  const toml::source_position& at = place.region.begin;
  return fmt::format("[{}:{}:{}]", place.file, at.line, at.column);
}

}  // namespace

Error wrong(const Place& place, std::string_view expected, std::string_view found) {
  return Error(ErrorCode::kFormat,
               fmt::format("{} expected {}, found {}", mark(place), expected, found));
}

std::string describe(const toml::node& node) {
  if (const auto* text = node.as_string()) return json::quote(text->get());
  if (const auto* number = node.as_integer()) return std::to_string(number->get());
  if (const auto* number = node.as_floating_point()) return fmt::format("{}", number->get());
  if (const auto* truth = node.as_boolean()) return truth->get() ? "true" : "false";
  if (node.is_table()) return "a table";
  return node.is_array() ? "an array" : "a date or time";
}

toml::table parsed_table(std::string_view text, const fs::path& path) {
  try {
    return toml::parse(text, path.string());
  } catch (const toml::parse_error& error) {
    throw wrong(
        {path.string(), error.source()}, "TOML", fmt::format("this: {}", error.description()));
  }
}

Place Table::place(const std::string& key) const {
  const toml::node* node = table_ == nullptr ? nullptr : table_->get(key);
  return node == nullptr ? place() : place(*node);
}

std::vector<std::string> Table::keys() const {
  std::vector<std::string> out;
  if (table_ == nullptr) return out;
  for (const auto& [key, node] : *table_) out.emplace_back(key.str());
  return out;
}

/// The key that a message is about: what it expects something of, the only one that it names, else one whose value
/// and part of whose name it says ("7 heads": num_attention_heads = 7). "" where there is none.
std::string Table::about(std::string_view message) const {
  const std::set<std::string> words = words_of(message);
  const std::string_view first = message.substr(std::min(message.size(), kExpected.size()));
  std::vector<std::string> named;
  std::string told;
  for (const std::string& key : keys()) {
    if (message.starts_with(kExpected) && first.starts_with(key + ' ')) return key;
    if (words.contains(key)) named.push_back(key);
    if (!told.empty() || !words.contains(describe(*table_->get(key)))) continue;
    for (std::size_t at = 0; at < key.size();) {
      const std::size_t end = std::min(key.size(), key.find('_', at));
      if (end - at > 3 && words.contains(key.substr(at, end - at))) told = key;
      at = end + 1;
    }
  }
  if (named.size() == 1) return named.front();
  return named.empty() ? told : "";
}

const toml::node* Table::find(const std::string& key) {
  known_.insert(key);
  return table_ == nullptr ? nullptr : table_->get(key);
}

Table Table::table(const std::string& key) {
  const toml::node* node = find(key);
  if (node != nullptr && !node->is_table())
    throw wrong(place(*node), '[' + key + ']', describe(*node));
  return {file_, node == nullptr ? nullptr : node->as_table(), key};
}

void Table::missing(const std::string& key, std::string_view what) const {
  for (const std::string& found : keys()) {
    if (known_.contains(found) || edit_distance(found, key) > 2) continue;
    throw wrong(key_place(found), key, json::quote(found));
  }
  const std::string inside = name_.empty() ? std::string("the recipe") : '[' + name_ + ']';
  throw wrong(place(), fmt::format("{} = {} in {}", key, what, inside), "no such key");
}

std::optional<std::string> Table::text(const std::string& key,
                                       const std::vector<std::string>& allowed) {
  const toml::node* node = find(key);
  if (node == nullptr) return std::nullopt;
  const auto* value = node->as_string();
  const bool fits =
      value != nullptr && !value->get().empty() &&
      (allowed.empty() || std::find(allowed.begin(), allowed.end(), value->get()) != allowed.end());
  if (!fits) {
    const std::string expected =
        allowed.empty() ? "a text" : fmt::format("one of {}", fmt::join(allowed, ", "));
    throw wrong(place(*node), key + " to be " + expected, describe(*node));
  }
  return value->get();
}

void Table::integer(const std::string& key,
                    std::int64_t& value,
                    std::int64_t least,
                    std::int64_t most) {
  const toml::node* node = find(key);
  if (node == nullptr) return;
  const auto* number = node->as_integer();
  if (number == nullptr || number->get() < least || number->get() > most) {
    throw wrong(place(*node),
                fmt::format("{} to be a whole number from {} to {}", key, least, most),
                describe(*node));
  }
  value = number->get();
}

void Table::truth(const std::string& key, bool& value) {
  const toml::node* node = find(key);
  if (node == nullptr) return;
  const auto* found = node->as_boolean();
  if (found == nullptr) throw wrong(place(*node), key + " to be true or false", describe(*node));
  value = found->get();
}

double Table::as_number(const toml::node& node,
                        const std::string& what,
                        double least,
                        double most) const {
  const std::optional<double> found = node.value<double>();
  const bool fits =
      (node.is_integer() || node.is_floating_point()) && found && *found >= least && *found <= most;
  if (!fits) {
    throw wrong(place(node),
                fmt::format("{} to be a number from {} to {}", what, least, most),
                describe(node));
  }
  return *found;
}

const toml::array* Table::array(const std::string& key) {
  const toml::node* node = find(key);
  if (node == nullptr) return nullptr;
  if (!node->is_array() || node->as_array()->empty()) {
    throw wrong(place(*node), key + " to be an array with something in it", describe(*node));
  }
  return node->as_array();
}

nlohmann::ordered_json Table::json(const std::string& key) { return json_of(*find(key), *this); }

void Table::finish() const { refuse_others({known_.begin(), known_.end()}); }

void Table::refuse_others(const Names& known) const {
  if (table_ == nullptr) return;
  for (const auto& [key, node] : *table_) {
    const std::string found(key.str());
    if (known.contains(found)) continue;
    std::string nearest;
    for (const std::string& name : known) {
      if (nearest.empty() || edit_distance(found, name) < edit_distance(found, nearest))
        nearest = name;
    }
    // A short name is near others by chance, and one that is there is not what was meant.
    const std::size_t edits = edit_distance(found, nearest);
    const bool near = edits <= 3 && 2 * edits < std::max(found.size(), nearest.size()) &&
                      table_->get(nearest) == nullptr;
    throw wrong({file_, key.source()},
                near ? nearest : fmt::format("one of {}", fmt::join(known, ", ")),
                json::quote(found));
  }
}

void Table::refuse_misspelt(const Names& asked) const {
  constexpr std::size_t kShortest = 6;  // shorter names are near others by chance
  for (const std::string& found : keys()) {
    if (asked.contains(found)) continue;
    for (const std::string& key : asked) {
      // bos_token_id and eos_token_id are no slips of a finger.
      const bool near =
          key.size() >= kShortest && key.front() == found.front() && edit_distance(found, key) <= 2;
      if (near && table_->get(key) == nullptr)
        throw wrong(key_place(found), key, json::quote(found));
    }
  }
}

void Table::check(const std::function<void()>& work, Keys keys) const {
  const json::Asked asked;
  try {
    work();
  } catch (const Error& error) {
    refuse_misspelt(asked.keys());
    // "[config.json] expected ...": the reader of a recipe has no such file.
    std::string_view message = error.what();
    const std::size_t where = message.find("] expected ");
    if (message.starts_with('[') && where != message.npos) message.remove_prefix(where + 2);
    const Place found = place(about(message));
    throw Error(ErrorCode::kFormat, fmt::format("{} {} (in [{}])", mark(found), message, name_));
  }
  refuse_misspelt(asked.keys());
  if (keys == Keys::kThoseRead) refuse_others(asked.keys());
}

Place Table::key_place(const std::string& name) const {
  for (const auto& [key, node] : *table_) {
    if (key.str() == name) return {file_, key.source()};
  }
  return place();
}

}  // namespace headscope::train
