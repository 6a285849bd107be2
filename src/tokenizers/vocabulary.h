#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>

#include "formats/json.h"

namespace headscope::tokenizers {

/// Tokens and their ids, both ways. Ids may have gaps: memory goes with the number of tokens.
class Vocabulary {
 public:
  /// From {"token": id, ...}. Errors: kFormat (an id that is no integer of 0..2^31-1, two tokens
  /// with one id).
  static Vocabulary from_json(const json::Value& object, std::string_view where);

  [[nodiscard]] std::size_t size() const { return ids_.size(); }
  /// -1 when there is no such token.
  [[nodiscard]] std::int32_t id_of(std::string_view token) const;
  /// nullptr when there is no such id.
  [[nodiscard]] const std::string* token_of(std::int32_t id) const;
  [[nodiscard]] const std::unordered_map<std::string, std::int32_t>& ids() const { return ids_; }

 private:
  std::unordered_map<std::string, std::int32_t> ids_;
  std::unordered_map<std::int32_t, const std::string*> tokens_;  // keys of ids_, which stay put
};

}  // namespace headscope::tokenizers
