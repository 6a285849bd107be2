#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <string>
#include <string_view>

/// Every word that the command line says, in English and Russian; the table is words.def.
namespace headscope::cli {

enum class Lang { kEn, kRu };

/// The entries of words.def, in its order.
enum class Word {
#define HEADSCOPE_WORD(id, en, ru) id,
#include "cli/words.def"
#undef HEADSCOPE_WORD
  kCount
};

/// An entry in one language.
std::string_view text(Lang lang, Word word);
/// The name of an entry in words.def, for tests.
std::string_view name(Word word);

/// An entry with its {} filled in.
template <typename... Args>
std::string say(Lang lang, Word word, const Args&... args) {
  return fmt::vformat(text(lang, word), fmt::make_format_args(args...));
}

/// "1 token", "9 tokens"; «1 токен», «2 токена», «9 токенов». The entry holds the forms, separated
/// by '|': two in English, three in Russian.
std::string counted(Lang lang, Word word, std::int64_t n);

/// The language asked for by --lang ("" when absent), else HEADSCOPE_LANG, else LC_ALL,
/// LC_MESSAGES, LANG: the first that is set decides. Errors: kUsage for --lang or HEADSCOPE_LANG
/// that is neither en nor ru.
Lang choose_language(std::string_view option);

}  // namespace headscope::cli
