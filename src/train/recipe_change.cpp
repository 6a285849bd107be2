#include "train/recipe_change.h"

#include <fmt/format.h>
#include <toml++/toml.h>

#include <sstream>
#include <utility>

#include "formats/json.h"

namespace headscope::train {

namespace {

toml::table table_of(const json::Value& object);
toml::array array_of(const json::Value& list);

/// Calls `put` with the value as TOML has it.
template <typename Put>
void as_toml(const json::Value& value, Put&& put) {
  if (value.is_string()) {
    put(value.get<std::string>());
  } else if (value.is_boolean()) {
    put(value.get<bool>());
  } else if (value.is_number_integer()) {
    put(value.get<std::int64_t>());
  } else if (value.is_number_float()) {
    put(value.get<double>());
  } else if (value.is_object()) {
    put(table_of(value));
  } else if (value.is_array()) {
    put(array_of(value));
  } else {
    throw Error(ErrorCode::kFormat,
                fmt::format("[recipe] expected a value that TOML has, found {}", value.dump()));
  }
}

toml::array array_of(const json::Value& list) {
  toml::array out;
  for (const json::Value& one : list)
    as_toml(one, [&](auto&& element) { out.push_back(std::move(element)); });
  return out;
}

toml::table table_of(const json::Value& object) {
  toml::table out;
  for (const auto& [key, value] : object.items()) {
    const std::string& name = key;  // clang 14 captures no structured bindings
    as_toml(value, [&](auto&& element) { out.insert(name, std::move(element)); });
  }
  return out;
}

}  // namespace

std::string changed(std::string_view toml, const RecipeChange& change) {
  toml::table recipe;
  try {
    recipe = toml::parse(toml);
  } catch (const toml::parse_error& error) {
    throw Error(ErrorCode::kFormat,
                fmt::format("[recipe:{}:{}] expected TOML, found this: {}",
                            error.source().begin.line,
                            error.source().begin.column,
                            error.description()));
  }
  if (change.name) recipe.insert_or_assign("name", *change.name);
  if (change.config) {
    recipe.insert_or_assign("model", table_of(json::parse(*change.config, "config.json")));
  }
  if (change.seed || change.tokens) {
    if (!recipe.contains("training")) recipe.insert("training", toml::table());
    toml::table* training = recipe["training"].as_table();
    if (training == nullptr)
      throw Error(ErrorCode::kFormat, "[recipe] expected [training], found something else");
    if (change.seed) training->insert_or_assign("seed", static_cast<std::int64_t>(*change.seed));
    if (change.tokens) {
      training->erase("steps");
      training->insert_or_assign("tokens", *change.tokens);
    }
  }
  std::ostringstream out;
  out << recipe << '\n';
  return out.str();
}

}  // namespace headscope::train
