#pragma once

#include <string>
#include <string_view>

#include "formats/json.h"
#include "tokenizers/regex.h"

/// Options that several parts of a tokenizer.json share.
namespace headscope::tokenizers {

/// The one character under `key`. Errors: kFormat.
char32_t require_character(const json::Value& part, std::string_view key, std::string_view where);

/// The "pattern" of Split and Replace: {"String": text} or {"Regex": regex}.
/// Errors: kFormat, kUnsupported.
Regex require_pattern(const json::Value& part, std::string_view where);

/// The character that Metaspace writes for a space (▁ unless the file says otherwise).
char32_t metaspace_mark(const json::Value& part, std::string_view where);
/// Where Metaspace puts one in front: "always", "first" or "never". Errors: kFormat.
std::string metaspace_scheme(const json::Value& part, std::string_view where);

}  // namespace headscope::tokenizers
