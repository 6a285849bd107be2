#include "train/stems.h"

#include <libstemmer.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <string>

#include "headscope/error.h"

namespace headscope::train {

namespace {

struct Free {
  void operator()(sb_stemmer* stemmer) const { sb_stemmer_delete(stemmer); }
};
using Handle = std::unique_ptr<sb_stemmer, Free>;

Handle open(const char* language) {
  Handle handle(sb_stemmer_new(language, "UTF_8"));
  if (handle == nullptr) {
    throw Error(
        ErrorCode::kUnsupported,
        std::string("[stems] expected libstemmer to know ") + language + ", found it does not");
  }
  return handle;
}

/// Bytes that both begin with.
std::size_t common(std::string_view a, std::string_view b) {
  const auto ends = std::mismatch(a.begin(), a.end(), b.begin(), b.end());
  return static_cast<std::size_t>(ends.first - a.begin());
}

/// Endings that change a word's form and not the word.
constexpr std::array<std::string_view, 9> kEnglishEndings{
    "s", "es", "ed", "d", "ing", "ly", "er", "est", "en"};

// Closed classes, as far as their members are written in one word.
constexpr std::string_view kEnglishFunction[] = {
    "a",       "an",      "the",      "this",   "that",   "these",  "those",   "my",      "your",
    "his",     "her",     "its",      "our",    "their",  "of",     "in",      "to",      "for",
    "with",    "on",      "at",       "by",     "from",   "about",  "into",    "through", "after",
    "over",    "between", "against",  "during", "before", "under",  "upon",    "without", "within",
    "towards", "toward",  "among",    "behind", "i",      "me",     "you",     "he",      "him",
    "she",     "it",      "we",       "us",     "they",   "them",   "who",     "whom",    "whose",
    "which",   "what",    "and",      "or",     "but",    "nor",    "if",      "as",      "than",
    "because", "though",  "although", "while",  "when",   "where",  "whether", "is",      "are",
    "was",     "were",    "be",       "been",   "being",  "am",     "do",      "does",    "did",
    "has",     "have",    "had",      "having", "will",   "would",  "shall",   "should",  "can",
    "could",   "may",     "might",    "must",   "not",    "no",     "so",      "such",    "some",
    "any",     "every",   "each",     "all",    "both",   "either", "neither", "one",     "there",
    "himself", "herself"};
constexpr std::string_view kRussianFunction[] = {
    "и",      "а",    "но",    "да",     "или",  "что",   "чтобы", "как",   "если",  "когда",
    "потому", "хотя", "не",    "ни",     "же",   "ли",    "бы",    "б",     "ведь",  "вот",
    "уж",     "уже",  "еще",   "в",      "во",   "на",    "с",     "со",    "к",     "ко",
    "о",      "об",   "обо",   "от",     "до",   "из",    "за",    "по",    "под",   "над",
    "при",    "про",  "для",   "без",    "у",    "через", "между", "перед", "около", "после",
    "среди",  "ради", "кроме", "только", "даже", "лишь",  "то",    "тоже",  "также"};

std::uint32_t first_letter(std::string_view word) {
  if (word.empty()) return 0;
  const auto byte = [&](std::size_t i) {
    return i < word.size() ? static_cast<std::uint8_t>(word[i]) : 0U;
  };
  if (byte(0) < 0x80) return byte(0);
  return byte(0) < 0xE0 ? ((byte(0) & 0x1FU) << 6) | (byte(1) & 0x3FU) : 0xFFFFU;
}

bool is_latin(std::uint32_t c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= 0xC0 && c <= 0x24F);
}

}  // namespace

Script script_of_word(std::string_view word) {
  const std::uint32_t c = first_letter(word);
  if (c >= 0x400 && c <= 0x4FF) return Script::kRussian;
  return is_latin(c) ? Script::kEnglish : Script::kOther;
}

struct Stemmer::Parts {
  Handle russian = open("russian");
  Handle english = open("english");
};

Stemmer::Stemmer() : parts_(std::make_unique<Parts>()) {}
Stemmer::Stemmer(Stemmer&&) noexcept = default;
Stemmer& Stemmer::operator=(Stemmer&&) noexcept = default;
Stemmer::~Stemmer() = default;

std::size_t Stemmer::stem_of(std::string_view word) const {
  const Script script = script_of_word(word);
  // Longer words than any of these languages has would only cost time.
  if (script == Script::kOther || word.size() > 200) return word.size();
  sb_stemmer* stemmer = (script == Script::kRussian ? parts_->russian : parts_->english).get();
  const sb_symbol* stem = sb_stemmer_stem(
      stemmer, reinterpret_cast<const sb_symbol*>(word.data()), static_cast<int>(word.size()));
  if (stem == nullptr)
    throw Error(ErrorCode::kResources, "[stems] expected memory, found none left");
  const std::string_view found(reinterpret_cast<const char*>(stem),
                               static_cast<std::size_t>(sb_stemmer_length(stemmer)));
  const std::size_t kept = common(word, found);
  // A stem of one letter says too little to be one.
  const std::size_t least = script == Script::kRussian ? 4 : 2;
  if (kept < least) return word.size();
  if (script == Script::kRussian) {
    // What the stemmer changed inside a word is no ending.
    return kept == found.size() ? kept : word.size();
  }
  const std::string_view ending = word.substr(kept);
  const bool inflected =
      std::find(kEnglishEndings.begin(), kEnglishEndings.end(), ending) != kEnglishEndings.end();
  return inflected ? kept : word.size();
}

bool is_function_word(std::string_view word, Script script) {
  const auto in = [&](const auto& list) {
    return std::find(std::begin(list), std::end(list), word) != std::end(list);
  };
  if (script == Script::kRussian) return in(kRussianFunction);
  return script == Script::kEnglish && in(kEnglishFunction);
}

}  // namespace headscope::train
