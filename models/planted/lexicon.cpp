#include "lexicon.h"

#include <algorithm>
#include <map>
#include <sstream>
#include <utility>

#include "headscope/error.h"

namespace headscope::planted {
namespace {

using Facts = std::bitset<kFacts>;

// The questions, numbered as `endings` in vocabulary.txt lists them.
enum Question : std::size_t {
  kKakoy,
  kKakogo,
  kKakomu,
  kKakim,
  kKakom,
  kKakaya,
  kKakoyOfHer,
  kKakuyu,
  kKakoe,
  kKakie,
  kKakikh,
  kKakimi,
  kWhich
};
constexpr std::size_t kCases = 6;
enum Case : std::size_t { kNominative, kGenitive, kDative, kAccusative };

// The question each case of a noun answers. Living beings answer the question of the genitive in
// the accusative, unless feminine: какого короля, какого слугу, but какую королеву.
using Answers = std::array<Question, kCases>;
const std::map<std::string, Answers, std::less<>> kAnswersOf{
    {"m", {kKakoy, kKakogo, kKakomu, kKakoy, kKakim, kKakom}},
    {"f", {kKakaya, kKakoyOfHer, kKakoyOfHer, kKakuyu, kKakoyOfHer, kKakoyOfHer}},
    {"n", {kKakoe, kKakogo, kKakomu, kKakoe, kKakim, kKakom}},
    {"pl", {kKakie, kKakikh, kKakim, kKakie, kKakimi, kKakikh}}};

std::vector<std::string> split(std::string_view text) {
  std::istringstream in{std::string(text)};
  std::vector<std::string> parts;
  for (std::string part; in >> part;) parts.push_back(part);
  return parts;
}

class Reader {
 public:
  explicit Reader(std::string_view name) : name_(name) {
    for (const char* special : {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"}) add(special, {});
    words_[1].facts.set(kUnknown);
    words_[2].facts.set(kFirst);
  }

  void read(std::string_view line) {
    ++line_;
    const auto colon = line.find(':');
    const auto head = split(line.substr(0, colon));
    if (head.empty() || head[0].starts_with('#')) return;
    if (colon == std::string_view::npos) wrong("\"KIND: FORM...\"", line);
    const auto forms = split(line.substr(colon + 1));
    const std::string part = head[0] + (head.size() > 1 ? ' ' + head[1] : "");
    if (head[0] == "endings" && head.size() == 2) {
      if (forms.size() != kWhich) wrong("12 endings", std::to_string(forms.size()));
      endings_[head[1]] = forms;
    } else if (head[0] == "mark") {
      for (const auto& form : forms) add(form, {});
    } else if (head[0] != "ru" && head[0] != "en") {
      wrong("ru, en, mark or endings", head[0]);
    } else if (part == "ru noun") {
      russian_noun({head.begin() + 2, head.end()}, forms);
    } else if (part == "ru adjective") {
      for (const auto& form : forms) russian_adjective(form);
    } else {
      for (const auto& form : forms) add(form, plain_facts(head));
    }
  }

  std::vector<Word> take() {
    // Letters "ё" are mostly written "е": what nobody listed so is the same word.
    const std::vector<Word> listed = words_;
    for (const Word& word : listed) {
      std::string plain = word.text;
      for (std::size_t at; (at = plain.find("ё")) != std::string::npos;) {
        plain.replace(at, std::string_view("ё").size(), "е");
      }
      if (plain != word.text) add(plain, word.facts);
    }
    for (const Word& word : words_) {
      if (word.facts[kWho] && word.facts[kWhom]) wrong("forms for who or whom", word.text);
    }
    return std::move(words_);
  }

 private:
  [[noreturn]] void wrong(std::string_view expected, std::string_view found) const {
    throw Error(ErrorCode::kFormat,
                '[' + name_ + ':' + std::to_string(line_) + "] expected " + std::string(expected) +
                    ", found \"" + std::string(found) + '"');
  }

  void add(const std::string& text, Facts facts) {
    const auto [at, fresh] = ids_.try_emplace(text, words_.size());
    if (fresh) words_.push_back({text, {}});
    words_[at->second].facts |= facts;
  }

  void russian_noun(const std::vector<std::string>& how, const std::vector<std::string>& forms) {
    const auto answers = how.empty() ? kAnswersOf.end() : kAnswersOf.find(how[0]);
    const bool animate = how.size() == 2 && how[1] == "animate";
    if (answers == kAnswersOf.end() || (how.size() > 1 && !animate)) {
      wrong("m, f, n or pl, then animate or nothing", how.empty() ? "" : how.back());
    }
    if (forms.size() != kCases) wrong("six cases", std::to_string(forms.size()));
    for (std::size_t i = 0; i < kCases; ++i) {
      Facts facts;
      facts.set(kWord);
      const bool as_genitive = i == kAccusative && animate && how[0] != "f";
      facts.set(kAnswers + answers->second[as_genitive ? kGenitive : i]);
      facts.set(kWho, animate && i == kNominative);
      facts.set(kWhom, animate && i == kDative);
      add(forms[i], facts);
    }
  }

  void russian_adjective(const std::string& dictionary_form) {
    const auto bar = dictionary_form.find('|');
    const auto endings =
        bar == std::string::npos ? endings_.end() : endings_.find(dictionary_form.substr(bar + 1));
    if (endings == endings_.end()) wrong("STEM|ENDING of a listed ending", dictionary_form);
    for (std::size_t i = 0; i < endings->second.size(); ++i) {
      Facts facts;
      facts.set(kWord);
      facts.set(kAsks + i);
      add(dictionary_form.substr(0, bar) + endings->second[i], facts);
    }
  }

  [[nodiscard]] Facts plain_facts(const std::vector<std::string>& head) const {
    static constexpr std::array kParts{"noun",
                                       "pronoun",
                                       "adjective",
                                       "verb",
                                       "adverb",
                                       "article",
                                       "auxiliary",
                                       "numeral",
                                       "preposition",
                                       "conjunction",
                                       "particle"};
    const std::string& part = head.size() > 1 ? head[1] : head[0];
    if (std::find(kParts.begin(), kParts.end(), part) == kParts.end()) {
      wrong("a part of speech", part);
    }
    Facts facts;
    facts.set(kWord);
    facts.set(kVerb, part == "verb");
    facts.set(kAsks + kWhich, part == "adjective");
    facts.set(kAnswers + kWhich, part == "noun");
    for (std::size_t i = 2; i < head.size(); ++i) {
      if (head[0] == "ru" && head[i] == "who") {
        facts.set(kWho);
      } else if (head[0] == "ru" && head[i] == "whom") {
        facts.set(kWhom);
      } else if (head[0] == "en" && head[i] == "animate") {
        facts.set(kAnimate);
      } else {
        wrong("who or whom (ru), animate (en)", head[i]);
      }
    }
    return facts;
  }

  std::string name_;
  int line_ = 0;
  std::vector<Word> words_;
  std::map<std::string, std::size_t, std::less<>> ids_;
  std::map<std::string, std::vector<std::string>, std::less<>> endings_;
};

}  // namespace

std::vector<Word> read_lexicon(std::string_view text, std::string_view name) {
  Reader reader(name);
  while (!text.empty()) {
    const auto end = std::min(text.find('\n'), text.size());
    reader.read(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return reader.take();
}

}  // namespace headscope::planted
