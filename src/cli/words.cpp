#include "cli/words.h"

#include <array>
#include <cstdlib>

#include "headscope/error.h"

namespace headscope::cli {

namespace {
struct Row {
  std::string_view name, en, ru;
};

constexpr Row kRows[] = {
#define HEADSCOPE_WORD(id, en, ru) {#id, en, ru},
#include "cli/words.def"
#undef HEADSCOPE_WORD
};
static_assert(std::size(kRows) == static_cast<std::size_t>(Word::kCount));

// Which of the forms of a Russian noun goes with n: 1 токен, 2 токена, 5 токенов.
std::size_t russian_form(std::int64_t n) {
  const std::int64_t tens = n % 100;
  const std::int64_t ones = n % 10;
  if (ones == 1 && tens != 11) return 0;
  if (ones >= 2 && ones <= 4 && (tens < 12 || tens > 14)) return 1;
  return 2;
}

std::string_view environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? std::string_view() : std::string_view(value);
}
}  // namespace

std::string_view text(Lang lang, Word word) {
  const Row& row = kRows[static_cast<std::size_t>(word)];
  return lang == Lang::kRu ? row.ru : row.en;
}

std::string_view name(Word word) { return kRows[static_cast<std::size_t>(word)].name; }

std::string counted(Lang lang, Word word, std::int64_t n) {
  std::string_view forms = text(lang, word);
  std::size_t form = lang == Lang::kRu ? russian_form(n) : (n == 1 ? 0U : 1U);
  for (; form > 0; --form) forms.remove_prefix(forms.find('|') + 1);
  return fmt::format("{} {}", n, forms.substr(0, forms.find('|')));
}

Lang choose_language(std::string_view option) {
  for (const auto& [where, value] :
       {std::pair{std::string_view("--lang"), option},
        std::pair{std::string_view("HEADSCOPE_LANG"), environment("HEADSCOPE_LANG")}}) {
    if (value == "ru") return Lang::kRu;
    if (value == "en") return Lang::kEn;
    if (!value.empty()) {
      throw Error(ErrorCode::kUsage, fmt::format("[{}] expected en or ru, found {}", where, value));
    }
  }
  for (const char* variable : {"LC_ALL", "LC_MESSAGES", "LANG"}) {
    const std::string_view value = environment(variable);
    if (!value.empty()) return value.starts_with("ru") ? Lang::kRu : Lang::kEn;
  }
  return Lang::kEn;
}

}  // namespace headscope::cli
