#include "formats/conllu.h"

#include <fmt/format.h>

#include <array>
#include <charconv>
#include <utility>

#include "formats/xz.h"
#include "headscope/error.h"

namespace headscope::conllu {

namespace {

enum Column { kId, kForm, kLemma, kUpos, kXpos, kFeats, kHead, kDeprel, kDeps, kMisc, kColumns };
using Columns = std::array<std::string_view, kColumns>;

/// Reads one file line by line; a sentence is checked and put away at the empty line behind it.
class Reader {
 public:
  explicit Reader(std::string_view name) : name_(name) {}

  void line(std::string_view line) {
    ++number_;
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.empty()) {
      finish();
    } else if (line.front() == '#') {
      comment(line);
    } else {
      token(columns(line));
    }
  }

  std::vector<Sentence> take() && {
    finish();
    return std::move(sentences_);
  }

 private:
  [[noreturn]] void wrong(std::string_view expected, std::string_view found) const {
    throw Error(
        ErrorCode::kFormat,
        fmt::format(
            "[{}:{}] expected {}, found \"{}\"", name_, number_, expected, found.substr(0, 40)));
  }

  [[nodiscard]] std::size_t integer(std::string_view word, std::string_view what) const {
    std::size_t out = 0;
    const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), out);
    if (error != std::errc() || end != word.data() + word.size() || out > 1'000'000) {
      wrong(what, word);
    }
    return out;
  }

  [[nodiscard]] Columns columns(std::string_view line) const {
    Columns out;
    for (std::size_t i = 0; i < kColumns; ++i) {
      const std::size_t tab = line.find('\t');
      const bool last = i + 1 == kColumns;
      if ((tab == std::string_view::npos) != last) wrong("ten columns separated by tabs", line);
      out[i] = line.substr(0, tab);
      if (out[i].empty()) wrong("no empty column", line);
      if (!last) line.remove_prefix(tab + 1);
    }
    return out;
  }

  void comment(std::string_view line) {
    constexpr std::string_view kSentId = "# sent_id = ";
    if (line.starts_with(kSentId)) sentence_.id = line.substr(kSentId.size());
  }

  void token(const Columns& row) {
    if (row[kId].find('.') != std::string_view::npos) return;  // an empty node
    const bool space = row[kMisc].find("SpaceAfter=No") == std::string_view::npos;
    if (const std::size_t dash = row[kId].find('-'); dash != std::string_view::npos) {
      if (in_range_ < range_end_) wrong("no token inside of another", row[kId]);
      const std::size_t first = integer(row[kId].substr(0, dash), "a range of words");
      range_end_ = integer(row[kId].substr(dash + 1), "a range of words");
      in_range_ = sentence_.words.size();
      if (first != in_range_ + 1 || range_end_ < first)
        wrong("a range of the next words", row[kId]);
      range_surface_ = row[kForm];
      range_space_ = space;
      return;
    }
    Word word{.form = std::string(row[kForm]),
              .part_of_speech = std::string(row[kUpos]),
              .features = row[kFeats] == "_" ? std::string() : std::string(row[kFeats]),
              .head = static_cast<std::int32_t>(integer(row[kHead], "the number of a head")) - 1,
              .relation = std::string(row[kDeprel])};
    if (integer(row[kId], "the number of a word") != sentence_.words.size() + 1) {
      wrong(fmt::format("word {}", sentence_.words.size() + 1), row[kId]);
    }
    sentence_.words.push_back(std::move(word));
    if (range_end_ == 0) {
      place(sentence_.words.size() - 1, row[kForm], space);
    } else if (sentence_.words.size() == range_end_) {
      place(in_range_, range_surface_, range_space_);
      range_end_ = 0;
    }
  }

  /// Writes a token into the text and says where its words, those from `first` on, stand.
  void place(std::size_t first, std::string_view surface, bool space) {
    std::string& text = sentence_.text;
    if (space_ && !text.empty()) text += ' ';
    space_ = space;
    std::string together;
    for (std::size_t i = first; i < sentence_.words.size(); ++i)
      together += sentence_.words[i].form;
    const bool adds_up = together == surface;
    std::size_t at = text.size();
    text += surface;
    for (std::size_t i = first; i < sentence_.words.size(); ++i) {
      Word& word = sentence_.words[i];
      word.begin = at;
      word.end = adds_up ? at + word.form.size() : text.size();
      if (adds_up) at = word.end;
    }
  }

  void finish() {
    if (range_end_ != 0) wrong("the words of a token", "the end of its sentence");
    const auto count = static_cast<std::int32_t>(sentence_.words.size());
    for (const Word& word : sentence_.words) {
      if (word.head >= count) wrong("heads within the sentence", std::to_string(word.head + 1));
    }
    if (count > 0) {
      if (sentence_.id.empty()) sentence_.id = std::to_string(sentences_.size() + 1);
      sentences_.push_back(std::move(sentence_));
    }
    sentence_ = {};
    space_ = false;
  }

  std::string name_;
  std::size_t number_ = 0;
  std::vector<Sentence> sentences_;
  Sentence sentence_;
  bool space_ = false;         // whether a space stands before the next token
  std::size_t range_end_ = 0;  // number of the last word of a token of several words, or 0
  std::size_t in_range_ = 0;   // index of its first word
  std::string range_surface_;
  bool range_space_ = true;
};

}  // namespace

std::vector<Sentence> parse(std::string_view text, std::string_view name) {
  if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);
  Reader reader(name);
  while (!text.empty()) {
    const std::size_t end = text.find('\n');
    reader.line(text.substr(0, end));
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  }
  return std::move(reader).take();
}

bool is_treebank(std::string_view name) {
  return name.ends_with(".conllu") || name.ends_with(".conllu.xz");
}

std::vector<Sentence> load(const std::filesystem::path& path) {
  return parse(read_text(path), path.string());
}

std::string_view without_subtype(std::string_view relation) {
  return relation.substr(0, relation.find(':'));
}

std::vector<Edge> edges(const Sentence& sentence, std::string_view relation) {
  const auto is_of = [](const Word& word, std::string_view wanted) {
    return word.head >= 0 && (word.relation == wanted || without_subtype(word.relation) == wanted);
  };
  std::vector<Edge> out;
  const std::size_t between = relation.find('>');
  const auto words = static_cast<std::int32_t>(sentence.words.size());
  for (std::int32_t w = 0; w < words; ++w) {
    const Word& word = sentence.words[static_cast<std::size_t>(w)];
    if (!is_of(word, relation.substr(0, between))) continue;
    if (between == std::string_view::npos) {
      out.push_back({w, word.head});
      continue;
    }
    for (std::int32_t o = 0; o < words; ++o) {
      const Word& other = sentence.words[static_cast<std::size_t>(o)];
      if (o != w && other.head == word.head && is_of(other, relation.substr(between + 1)))
        out.push_back({w, o});
    }
  }
  return out;
}

std::vector<std::int32_t> words_of(const Sentence& sentence, std::span<const Range> ranges) {
  std::vector<std::int32_t> out(ranges.size(), -1);
  std::size_t word = 0;
  for (std::size_t i = 0; i < ranges.size(); ++i) {
    const Range& range = ranges[i];
    if (range.begin >= range.end) continue;
    // Tokens come in the order of the text; so do words.
    while (word < sentence.words.size() && sentence.words[word].end <= range.begin) ++word;
    if (word < sentence.words.size() && sentence.words[word].begin < range.end)
      out[i] = static_cast<std::int32_t>(word);
  }
  return out;
}

}  // namespace headscope::conllu
