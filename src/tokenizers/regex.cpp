#include "tokenizers/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 32
#include <fmt/format.h>
#include <pcre2.h>

#include <array>
#include <cstdint>
#include <utility>

#include "formats/json.h"
#include "headscope/error.h"
#include "tokenizers/regex_syntax.h"
#include "tokenizers/token_trie.h"
#include "tokenizers/unicode.h"

namespace headscope::tokenizers {
namespace {

// A match of a published pattern takes a few steps a character; a bomb takes 2^n.
constexpr std::uint32_t kMatchLimit = 2'000'000;
constexpr std::uint32_t kHeapLimitKib = 65536;
constexpr std::size_t kJitStackFirst = std::size_t{32} << 10;
constexpr std::size_t kJitStackMost = std::size_t{16} << 20;

template <auto free>
struct Freed {
  template <typename T>
  void operator()(T* value) const {
    free(value);
  }
};

PCRE2_SPTR32 units(std::u32string_view text) {
  static_assert(sizeof(char32_t) == sizeof(PCRE2_UCHAR32));
  return reinterpret_cast<PCRE2_SPTR32>(text.data());
}

std::string message_of(int error) {
  std::array<PCRE2_UCHAR32, 256> buffer{};
  std::string out;
  const int size = pcre2_get_error_message_32(error, buffer.data(), buffer.size());
  for (int i = 0; i < size; ++i) append_utf8(buffer[static_cast<std::size_t>(i)], out);
  return out;
}

/// What one thread needs to run any pattern.
struct Room {
  std::unique_ptr<pcre2_match_data_32, Freed<pcre2_match_data_free_32>> data{
      pcre2_match_data_create_32(1, nullptr)};
  std::unique_ptr<pcre2_match_context_32, Freed<pcre2_match_context_free_32>> context{
      pcre2_match_context_create_32(nullptr)};
  std::unique_ptr<pcre2_jit_stack_32, Freed<pcre2_jit_stack_free_32>> stack{
      pcre2_jit_stack_create_32(kJitStackFirst, kJitStackMost, nullptr)};

  Room() {
    if (!data || !context) {
      throw Error(ErrorCode::kResources, "[tokenizer] expected memory for a regex, found none");
    }
    pcre2_set_match_limit_32(context.get(), kMatchLimit);
    pcre2_set_heap_limit_32(context.get(), kHeapLimitKib);
    if (stack) pcre2_jit_stack_assign_32(context.get(), nullptr, stack.get());
  }
};

}  // namespace

struct Regex::Code {
  std::unique_ptr<pcre2_code_32, Freed<pcre2_code_free_32>> compiled;
  bool jit = false;
  std::string pattern;  ///< as published, for messages
};

Regex::Regex(std::string_view pattern, std::string_view where) {
  const std::u32string translated = to_utf32(pcre_pattern(pattern));
  const std::unique_ptr<pcre2_compile_context_32, Freed<pcre2_compile_context_free_32>> context{
      pcre2_compile_context_create_32(nullptr)};
  pcre2_set_newline_32(context.get(), PCRE2_NEWLINE_LF);
  pcre2_set_parens_nest_limit_32(context.get(), 100);
  int error = 0;
  PCRE2_SIZE offset = 0;
  auto code = std::make_shared<Code>();
  code->compiled.reset(pcre2_compile_32(
      units(translated),
      translated.size(),
      PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C | PCRE2_NO_UTF_CHECK,
      &error,
      &offset,
      context.get()));
  if (!code->compiled) {
    throw Error(ErrorCode::kUnsupported,
                fmt::format("[{}] expected a regex that PCRE2 takes, found {}: {}",
                            where,
                            json::quote(pattern),
                            message_of(error)));
  }
  code->jit = pcre2_jit_compile_32(code->compiled.get(), PCRE2_JIT_COMPLETE) == 0;
  code->pattern = pattern;
  code_ = std::move(code);
}

Regex Regex::literal(std::string_view text, std::string_view where) {
  Regex out;
  out.literal_ = to_utf32(text);
  if (out.literal_.empty() || out.literal_.size() > kMaxTokenLength) {
    throw Error(ErrorCode::kUnsupported,
                fmt::format("[{}] expected a pattern of 1 to {} characters, found {}",
                            where,
                            kMaxTokenLength,
                            out.literal_.size()));
  }
  return out;
}

std::optional<Span> Regex::search(std::u32string_view text, std::size_t from) const {
  if (!code_) {
    const std::size_t at = text.find(literal_, from);
    if (at == text.npos) return std::nullopt;
    return Span{at, at + literal_.size()};
  }
  thread_local const Room room;
  const auto match = code_->jit ? &pcre2_jit_match_32 : &pcre2_match_32;
  const int found = match(code_->compiled.get(),
                          units(text),
                          text.size(),
                          from,
                          PCRE2_NO_UTF_CHECK,
                          room.data.get(),
                          room.context.get());
  if (found == PCRE2_ERROR_NOMATCH) return std::nullopt;
  if (found < 0) {
    throw Error(ErrorCode::kResources,
                fmt::format("[tokenizer] expected regex {} to match in at most {} steps, found "
                            "that it does not: {}",
                            json::quote(code_->pattern),
                            kMatchLimit,
                            message_of(found)));
  }
  const PCRE2_SIZE* ends = pcre2_get_ovector_pointer_32(room.data.get());
  return Span{ends[0], std::max(ends[0], ends[1])};  // \K may put the begin behind the end
}

std::optional<Span> Regex::Matches::next() {
  while (at_ <= text_.size()) {
    const auto found = regex_->search(text_, at_);
    if (!found) break;
    if (found->begin == found->end && last_end_ == found->end) {
      ++at_;
      continue;
    }
    at_ = found->end;
    last_end_ = found->end;
    return found;
  }
  at_ = text_.size() + 1;
  return std::nullopt;
}

}  // namespace headscope::tokenizers
