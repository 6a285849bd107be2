#include "train/trees.h"

#include <fmt/format.h>

#include <set>
#include <utility>

#include "formats/conllu.h"
#include "formats/json.h"
#include "headscope/error.h"
#include "train/draws.h"
#include "train/rows.h"
#include "train/vocabulary.h"

namespace headscope::train {

namespace {

/// A sentence as tokens, with what heads should do in it.
struct Lesson {
  std::vector<std::int32_t> ids;  // with [CLS] and [SEP]
  struct Look {
    std::size_t taught;  // index into Teaching::heads
    std::int32_t row, first, last;
  };
  std::vector<Look> looks;
};

/// First and last token of each word, -1 where it has none.
std::vector<std::pair<std::int32_t, std::int32_t>> tokens_of(std::span<const std::int32_t> word_of,
                                                             std::size_t words) {
  std::vector<std::pair<std::int32_t, std::int32_t>> out(words, {-1, -1});
  for (std::size_t i = 0; i < word_of.size(); ++i) {
    if (word_of[i] < 0) continue;
    auto& [first, last] = out[static_cast<std::size_t>(word_of[i])];
    if (first < 0) first = static_cast<std::int32_t>(i);
    last = static_cast<std::int32_t>(i);
  }
  return out;
}

/// Without looks when the sentence is longer than `longest`.
Lesson lesson_of(const conllu::Sentence& sentence,
                 const Teaching& teaching,
                 const Tokenizer& tokenizer,
                 std::int64_t longest) {
  const Encoding encoding = tokenizer.encode(sentence.text, false);
  Lesson out;
  if (std::ssize(encoding.ids) + 2 > longest) return out;
  out.ids.push_back(kClass);
  out.ids.insert(out.ids.end(), encoding.ids.begin(), encoding.ids.end());
  out.ids.push_back(kSeparator);
  std::vector<conllu::Range> ranges{{}};
  for (const ByteRange& range : encoding.offsets) ranges.push_back({range.begin, range.end});
  const auto tokens = tokens_of(conllu::words_of(sentence, ranges), sentence.words.size());
  for (std::size_t t = 0; t < teaching.heads.size(); ++t) {
    const TaughtHead& taught = teaching.heads[t];
    for (const conllu::Edge& edge : conllu::edges(sentence, taught.relation)) {
      const auto from = tokens[static_cast<std::size_t>(taught.back ? edge.head : edge.dependent)];
      const auto to = tokens[static_cast<std::size_t>(taught.back ? edge.dependent : edge.head)];
      if (from.first < 0 || to.first < 0) continue;
      for (std::int32_t row = from.first; row <= from.second; ++row)
        out.looks.push_back({t, row, to.first, to.second});
    }
  }
  return out;
}

/// Texts and ids of sentences; a number alone is no id: it is where a sentence without one stands in its file.
std::set<std::string> known_of(const std::vector<std::filesystem::path>& paths) {
  std::set<std::string> out;
  for (const std::filesystem::path& path : paths) {
    for (const conllu::Sentence& sentence : conllu::load(path)) {
      if (sentence.id.find_first_not_of("0123456789") != std::string::npos) out.insert(sentence.id);
      out.insert(sentence.text);
    }
  }
  return out;
}

std::vector<Lesson> lessons_of(const Teaching& teaching,
                               const Tokenizer& tokenizer,
                               std::int64_t longest) {
  const std::set<std::string> known = known_of(teaching.without);
  std::vector<Lesson> out;
  for (const std::filesystem::path& path : teaching.trees) {
    for (const conllu::Sentence& sentence : conllu::load(path)) {
      if (known.contains(sentence.id) || known.contains(sentence.text)) continue;
      Lesson lesson = lesson_of(sentence, teaching, tokenizer, longest);
      if (!lesson.looks.empty()) out.push_back(std::move(lesson));
    }
  }
  return out;
}

class Taught final : public Source {
 public:
  Taught(std::unique_ptr<Source> base,
         const Teaching& teaching,
         const Tokenizer& tokenizer,
         std::int64_t longest,
         std::uint64_t seed)
      : base_(std::move(base)),
        heads_(teaching.heads),
        lessons_(lessons_of(teaching, tokenizer, longest)),
        sentences_(static_cast<std::uint64_t>(teaching.sentences)),
        seed_(seed) {
    turns_.resize(heads_.size());
    for (std::size_t i = 0; i < lessons_.size(); ++i) {
      for (const Lesson::Look& look : lessons_[i].looks) {
        auto& list = turns_[look.taught];
        if (list.empty() || list.back() != i) list.push_back(i);
      }
    }
    for (std::size_t t = 0; t < turns_.size(); ++t) {
      if (!turns_[t].empty()) continue;
      throw Error(ErrorCode::kInput,
                  fmt::format("[teaching] expected sentences of up to {} tokens that hold {} for "
                              "head {}.{}, found none",
                              longest,
                              json::quote(heads_[t].relation),
                              heads_[t].layer,
                              heads_[t].head));
    }
  }

  [[nodiscard]] Batch batch(std::uint64_t n) const override {
    Rows rows;
    const Batch texts = base_->batch(n);
    const auto copy = [](const Tensor& from, std::vector<std::int32_t>& to) {
      to.assign(from.span<std::int32_t>().begin(), from.span<std::int32_t>().end());
    };
    copy(texts.ids, rows.ids);
    copy(texts.labels, rows.labels);
    copy(texts.cu_seqlens, rows.starts);
    for (std::uint64_t i = n * sentences_; i < (n + 1) * sentences_; ++i) {
      const Lesson& lesson = lesson_of_turn(i);
      const std::int32_t base = rows.starts.back();
      for (const std::int32_t id : lesson.ids) rows.add(id);
      for (const Lesson::Look& look : lesson.looks) {
        const TaughtHead& head = heads_[look.taught];
        rows.teach(head.layer, head.head, base + look.row, base + look.first, base + look.last);
      }
      rows.end_sequence();
    }
    return rows.batch();
  }
  [[nodiscard]] std::uint64_t pass() const override { return base_->pass(); }

 private:
  /// What is taught takes turns, so that sentences with a rare relation come as often as any others; of its sentences
  /// each comes once before any comes again.
  [[nodiscard]] const Lesson& lesson_of_turn(std::uint64_t i) const {
    const std::uint64_t taught = i % turns_.size();
    const std::uint64_t turn = i / turns_.size();
    const std::vector<std::size_t>& list = turns_[taught];
    const std::uint64_t all = list.size();
    return lessons_[list[shuffled(turn % all, all, draw(seed_, taught, turn / all))]];
  }

  std::unique_ptr<Source> base_;
  std::vector<TaughtHead> heads_;
  std::vector<Lesson> lessons_;
  std::vector<std::vector<std::size_t>> turns_;  // of each of heads_, the lessons that are about it
  std::uint64_t sentences_;
  std::uint64_t seed_;
};

}  // namespace

std::unique_ptr<Source> taught_source(std::unique_ptr<Source> base,
                                      const Teaching& teaching,
                                      const Tokenizer& tokenizer,
                                      std::int64_t longest,
                                      std::uint64_t seed) {
  return std::make_unique<Taught>(std::move(base), teaching, tokenizer, longest, seed);
}

}  // namespace headscope::train
