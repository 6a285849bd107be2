#include "tokenizers/vocabulary.h"

#include <fmt/format.h>

#include <limits>

#include "headscope/error.h"

namespace headscope::tokenizers {

Vocabulary Vocabulary::from_json(const json::Value& object, std::string_view where) {
  if (!object.is_object()) {
    throw Error(ErrorCode::kFormat,
                fmt::format("[{}] expected model.vocab to be an object of tokens and ids, found {}",
                            where,
                            json::describe(object)));
  }
  Vocabulary out;
  out.ids_.reserve(object.size());
  out.tokens_.reserve(object.size());
  for (const auto& [token, value] : object.items()) {
    const auto id = json::as<std::int32_t>(value, token, where);
    if (id < 0) {
      throw Error(ErrorCode::kFormat,
                  fmt::format("[{}] expected the id of \"{}\" to be 0..{}, found {}",
                              where,
                              token,
                              std::numeric_limits<std::int32_t>::max(),
                              id));
    }
    const auto entry = out.ids_.emplace(token, id).first;
    const auto [owner, fresh] = out.tokens_.emplace(id, &entry->first);
    if (!fresh) {
      throw Error(ErrorCode::kFormat,
                  fmt::format("[{}] expected one token an id, found \"{}\" and \"{}\" with id {}",
                              where,
                              *owner->second,
                              token,
                              id));
    }
  }
  return out;
}

std::int32_t Vocabulary::id_of(std::string_view token) const {
  const auto found = ids_.find(std::string(token));
  return found == ids_.end() ? -1 : found->second;
}

const std::string* Vocabulary::token_of(std::int32_t id) const {
  const auto found = tokens_.find(id);
  return found == tokens_.end() ? nullptr : found->second;
}

}  // namespace headscope::tokenizers
