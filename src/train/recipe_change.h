#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

/// A recipe with something changed in it, as a recipe again.
namespace headscope::train {

struct RecipeChange {
  std::optional<std::string> name;
  std::optional<std::string> config;  ///< [model], as the text of a config.json
  std::optional<std::uint64_t> seed;
  std::optional<std::int64_t> tokens;  ///< how long; `steps` goes
};

/// The TOML text, its keys in alphabetical order and without its comments. Equal input gives equal text.
/// Errors: kFormat for what is no TOML, a [training] that is no table, and words of config.json that TOML has no type for.
std::string changed(std::string_view toml, const RecipeChange& change);

}  // namespace headscope::train
