// The vocabulary of stems and endings. WordPiece takes the longest token, so every stem in it must be weighed against
// the words whose endings it would bite into.
#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <unordered_set>
#include <utility>

#include "headscope/error.h"
#include "tokenizers/unicode.h"
#include "train/stems.h"
#include "train/tokenizer_json.h"
#include "train/vocabulary.h"

namespace headscope::train {

namespace {

using Json = nlohmann::ordered_json;
using Ranked = std::vector<std::pair<std::string, std::int64_t>>;

/// Falling counts; of equals by the letters, so that equal texts give equal vocabularies.
Ranked ranked(const WordCounts& counts) {
  Ranked out(counts.begin(), counts.end());
  std::sort(out.begin(), out.end(), [](const auto& a, const auto& b) {
    return a.second != b.second ? a.second > b.second : a.first < b.first;
  });
  return out;
}

struct SplitWord {
  std::string_view word;
  std::size_t stem = 0;  // bytes
  std::int64_t count = 0;
};

struct Split {
  std::vector<SplitWord> words;
  WordCounts stems, endings, letters;
};

Split split_words(const WordCounts& counts) {
  Split out;
  const Stemmer stemmer;
  for (const auto& [word, count] : counts) {
    for (std::size_t at = 0; at < word.size();) {
      const std::size_t begin = at;
      (void)tokenizers::next_utf8(word, at);
      out.letters[word.substr(begin, at - begin)] += count;
    }
    if (script_of_word(word) == Script::kOther) continue;
    const std::size_t stem = stemmer.stem_of(word);
    out.words.push_back({word, stem, count});
    out.stems[word.substr(0, stem)] += count;
    if (stem < word.size()) out.endings[word.substr(stem)] += count;
  }
  // Hash tables have an order of their own.
  std::sort(out.words.begin(), out.words.end(), [](const auto& a, const auto& b) {
    return a.word < b.word;
  });
  return out;
}

/// Tokens that begin a word, and tokens that continue one.
struct Tokens {
  std::unordered_set<std::string> first, more;
  [[nodiscard]] std::size_t size() const { return first.size() + more.size(); }
};

/// Pieces of the stems that are no tokens themselves, as SentencePiece chooses them.
void add_pieces(const Ranked& rare, std::int32_t size, Tokens& tokens) {
  // SentencePiece weighs lines alike; a stem that comes often is more of them, within reason.
  constexpr std::int64_t kMost = 20;
  std::string lines;
  for (const auto& [stem, count] : rare) {
    for (std::int64_t i = 0; i < std::min(kMost, count); i += 4) lines += stem + '\n';
  }
  if (lines.empty()) return;
  std::string json;
  const std::string learnt =
      sentencepiece_tokenizer({lines}, {.bpe = true, .size = size, .lines = 400'000});
  constexpr std::string_view kSpace = "▁";
  for (const auto& [piece, id] : nlohmann::json::parse(learnt).at("model").at("vocab").items()) {
    if (id.get<std::int32_t>() < kSpecialCount || piece == kSpace) continue;
    if (piece.starts_with(kSpace)) {
      tokens.first.insert(piece.substr(kSpace.size()));
    } else {
      tokens.more.insert(piece);
    }
  }
}

/// Bytes of the longest token that begins the word.
std::size_t longest(const std::unordered_set<std::string>& tokens, std::string_view word) {
  std::string prefix(word);
  while (!prefix.empty() && !tokens.contains(prefix)) {
    do {
      prefix.pop_back();
    } while (!prefix.empty() && (static_cast<unsigned char>(word[prefix.size()]) & 0xC0U) == 0x80U);
  }
  return prefix.size();
}

/// Takes away the tokens that bite into endings more often than they are stems. How many went.
std::size_t drop_biters(const Split& split,
                        const WordCounts& letters,
                        std::unordered_set<std::string>& dropped,
                        Tokens& tokens) {
  std::unordered_map<std::string, std::int64_t> harm;
  for (const SplitWord& word : split.words) {
    const std::string stem(word.word.substr(0, word.stem));
    if (word.stem == word.word.size() || !tokens.first.contains(stem)) continue;
    if (!tokens.more.contains(std::string(word.word.substr(word.stem)))) continue;
    const std::size_t taken = longest(tokens.first, word.word);
    if (taken > word.stem) harm[std::string(word.word.substr(0, taken))] += word.count;
  }
  std::size_t gone = 0;
  for (const auto& [token, count] : harm) {
    const auto own = split.stems.find(token);
    if ((own != split.stems.end() && own->second >= count) || letters.contains(token)) continue;
    tokens.first.erase(token);
    dropped.insert(token);
    ++gone;
  }
  return gone;
}

Json vocabulary_json(const Split& split, const Tokens& tokens) {
  const auto sorted = [&](const std::unordered_set<std::string>& some) {
    WordCounts counts;
    for (const std::string& token : some) {
      const auto found = split.stems.find(token);
      counts[token] = found == split.stems.end() ? 0 : found->second;
    }
    return ranked(counts);
  };
  Json vocab = Json::object();
  std::int32_t id = 0;
  for (const std::string_view special : kSpecials) vocab[std::string(special)] = id++;
  WordCounts endings;
  for (const std::string& token : tokens.more) {
    const auto found = split.endings.find(token);
    endings[token] = found == split.endings.end() ? 0 : found->second;
  }
  for (const auto& [token, count] : ranked(endings)) vocab["##" + token] = id++;
  for (const auto& [token, count] : sorted(tokens.first)) vocab[token] = id++;
  return vocab;
}

}  // namespace

void count_words(std::string_view text, WordCounts& counts) {
  std::u32string small;
  std::string word;
  const auto finish = [&] {
    if (!word.empty()) ++counts[word];
    word.clear();
  };
  for (std::size_t at = 0; at < text.size();) {
    const char32_t c = tokenizers::next_utf8(text, at);
    if (c == tokenizers::kNotUtf8) {
      throw Error(ErrorCode::kInput,
                  fmt::format("[tokenizer] expected UTF-8, found something else at byte {}", at));
    }
    if (tokenizers::is_white_space(c) || tokenizers::is_punctuation(c)) {
      finish();
      if (tokenizers::is_punctuation(c)) {
        tokenizers::append_utf8(c, word);
        finish();
      }
      continue;
    }
    small.clear();
    tokenizers::append_lower(c, small);
    for (const char32_t letter : small)
      tokenizers::append_utf8(letter == U'ё' ? U'е' : letter, word);
  }
  finish();
}

std::string stem_tokenizer(const WordCounts& counts, std::int32_t size) {
  const Split split = split_words(counts);
  std::int64_t all = 0;
  for (const auto& [letter, count] : split.letters) all += count;
  WordCounts letters;
  for (const auto& [letter, count] : split.letters) {
    if (count * 2'000'000 >= all) letters.emplace(letter, count);
  }
  Tokens tokens;
  for (const auto& [letter, count] : letters) {
    tokens.first.insert(letter);
    tokens.more.insert(letter);
  }
  const auto budget = static_cast<std::size_t>(std::max(0, size - kSpecialCount));
  // One in eight tokens for endings at most, and one in eight for pieces of rare stems.
  const Ranked endings = ranked(split.endings);
  for (std::size_t i = 0; i < std::min(endings.size(), budget / 8); ++i) {
    if (endings[i].second * 1'000'000 >= all) tokens.more.insert(endings[i].first);
  }
  if (split.words.empty() || tokens.size() + budget / 8 >= budget) {
    throw Error(
        ErrorCode::kInput,
        fmt::format("[tokenizer] expected words, and room for their letters and endings in {} "
                    "tokens, found {} words and {} letters and endings",
                    size,
                    split.words.size(),
                    tokens.size()));
  }
  const Ranked stems = ranked(split.stems);
  const auto cut = static_cast<std::ptrdiff_t>(std::min(stems.size(), budget * 3 / 4));
  add_pieces(
      Ranked(stems.begin() + cut, stems.end()), static_cast<std::int32_t>(budget / 8), tokens);
  std::unordered_set<std::string> dropped;
  const auto fill = [&] {
    for (std::size_t i = 0; i < stems.size() && tokens.size() < budget; ++i) {
      if (!dropped.contains(stems[i].first)) tokens.first.insert(stems[i].first);
    }
  };
  fill();
  constexpr int kRounds = 6;  // what fills the gaps may bite, too
  for (int round = 0; round < kRounds && drop_biters(split, letters, dropped, tokens) > 0;
       ++round) {
    if (round + 1 < kRounds) fill();
  }
  const Json small = {{"type", "Sequence"},
                      {"normalizers",
                       {{{"type", "NFC"}},
                        {{"type", "Lowercase"}},
                        {{"type", "Replace"}, {"pattern", {{"String", "ё"}}}, {"content", "е"}}}}};
  return tokenizer_json({.normalizer = small,
                         .pre_tokenizer = {{"type", "BertPreTokenizer"}},
                         .model = {{"type", "WordPiece"},
                                   {"unk_token", kSpecials[kUnknown]},
                                   {"continuing_subword_prefix", "##"},
                                   {"max_input_chars_per_word", 100},
                                   {"vocab", vocabulary_json(split, tokens)}},
                         .decoder = {{"type", "WordPiece"}, {"prefix", "##"}, {"cleanup", false}}});
}

}  // namespace headscope::train
