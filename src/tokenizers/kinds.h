#pragma once

#include <fmt/format.h>

#include <array>
#include <cstddef>
#include <string>
#include <string_view>

#include "formats/json.h"
#include "headscope/error.h"

namespace headscope::tokenizers {

/// One kind of part that a tokenizer.json can name, and what makes it.
template <typename Make>
struct Kind {
  std::string_view type;
  Make make;
};

/// The maker of `type`. Errors: kUnsupported, naming the part and all kinds known.
template <typename Make, std::size_t N>
const Kind<Make>& find_kind(const std::array<Kind<Make>, N>& kinds,
                            std::string_view type,
                            std::string_view part,
                            std::string_view where) {
  std::string known;
  for (const Kind<Make>& kind : kinds) {
    if (kind.type == type) return kind;
    if (!known.empty()) known += ", ";
    known += kind.type;
  }
  throw Error(
      ErrorCode::kUnsupported,
      fmt::format("[{}] expected {} to be one of {}, found \"{}\"", where, part, known, type));
}

/// The value under `key`, where it stands: vocabularies are large. Errors: kFormat when absent.
inline const json::Value& require_part(const json::Value& object,
                                       std::string_view key,
                                       std::string_view where) {
  const json::Value* part = json::find(object, key, where);
  if (part != nullptr) return *part;
  throw Error(ErrorCode::kFormat,
              fmt::format("[{}] expected \"{}\", found nothing under that key", where, key));
}

/// The list under `key`, for parts that are a sequence of parts. Errors: kFormat.
inline const json::Value& require_array(const json::Value& object,
                                        std::string_view key,
                                        std::string_view where) {
  const json::Value& list = require_part(object, key, where);
  if (list.is_array()) return list;
  throw Error(
      ErrorCode::kFormat,
      fmt::format(
          "[{}] expected \"{}\" to be an array, found {}", where, key, json::describe(list)));
}

}  // namespace headscope::tokenizers
