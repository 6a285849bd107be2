#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "headscope/tokenizer.h"

/// Tokens as words that can be told apart on a line: spaces and bytes are seen.
namespace headscope::cli {

/// The bytes that a token adds to a text, also where they are no whole character; the space that begins a word of
/// SentencePiece is one. Tokens such as <0x0A> stay as they are. Errors: kRange.
std::string token_bytes(const Tokenizer& tokenizer, std::int32_t id);

/// A space becomes ␣, a byte that is no UTF-8 or steers a terminal <0xE2>, another character that would not be seen
/// <U+200F>.
std::string visible(std::string_view bytes);

}  // namespace headscope::cli
