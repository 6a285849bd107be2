#include "tokenizers/normal_form.h"

#include <algorithm>
#include <cstdint>
#include <optional>

#include "tokenizers/unicode.h"

namespace headscope::tokenizers {
namespace {

constexpr char32_t kFirstDecomposable = 0xA0;  // no-break space, in the compatibility forms

struct Classed {
  Change change;
  std::uint8_t ccc = 0;
};

/// Sorts the marks behind the last starter. Stable: marks of one class keep their order.
void sort_marks(std::vector<Classed>& all, std::size_t begin) {
  if (all.size() - begin < 2) return;
  std::stable_sort(all.begin() + static_cast<std::ptrdiff_t>(begin),
                   all.end(),
                   [](const Classed& a, const Classed& b) { return a.ccc < b.ccc; });
}

std::vector<Classed> decompose(std::u32string_view text, bool compatibility) {
  std::vector<Classed> out;
  out.reserve(text.size());
  std::u32string parts;
  std::size_t marks = 0;  // where the marks behind the last starter begin
  for (const char32_t c : text) {
    parts.clear();
    append_decomposition(c, compatibility, parts);
    for (std::size_t i = 0; i < parts.size(); ++i) {
      const std::uint8_t ccc = combining_class(parts[i]);
      if (ccc == 0) sort_marks(out, marks);
      out.push_back({{parts[i], i == 0 ? 0 : 1}, ccc});
      if (ccc == 0) marks = out.size();
    }
  }
  sort_marks(out, marks);
  return out;
}

/// Canonical composition (UAX #15). A pair that becomes one consumes what both of it did.
class Composer {
 public:
  explicit Composer(std::size_t expected) { out_.reserve(expected); }

  void take(const Classed& next) {
    const bool blocked = last_ccc_ >= int{next.ccc};
    if (starter_ && !blocked) {
      if (const char32_t both = compose(starter_->c, next.change.c); both != 0) {
        starter_ = Change{both, starter_->change + next.change.change - 1};
        return;
      }
    }
    if (next.ccc == 0) {
      flush();
      starter_ = next.change;
    } else if (starter_) {
      marks_.push_back(next.change);
      last_ccc_ = next.ccc;
    } else {
      out_.push_back(next.change);
    }
  }

  std::vector<Change> finish() {
    flush();
    return std::move(out_);
  }

 private:
  void flush() {
    if (starter_) out_.push_back(*starter_);
    out_.insert(out_.end(), marks_.begin(), marks_.end());
    marks_.clear();
    starter_.reset();
    last_ccc_ = -1;
  }

  std::optional<Change> starter_;
  int last_ccc_ = -1;  // class of the last mark behind the starter, -1: none
  std::vector<Change> marks_, out_;
};

}  // namespace

void normalize(AlignedText& text, NormalForm form) {
  const bool compatibility = form == NormalForm::kNfkd || form == NormalForm::kNfkc;
  const bool composed = form == NormalForm::kNfc || form == NormalForm::kNfkc;
  const bool plain = std::all_of(text.chars.begin(), text.chars.end(), [=](char32_t c) {
    return c < kFirstDecomposable || (composed && stays_composed(c, compatibility));
  });
  if (plain) return;
  const std::vector<Classed> parts = decompose(text.chars, compatibility);
  std::vector<Change> changes;
  if (composed) {
    Composer composer(parts.size());
    for (const Classed& part : parts) composer.take(part);
    changes = composer.finish();
  } else {
    changes.reserve(parts.size());
    for (const Classed& part : parts) changes.push_back(part.change);
  }
  text.rewrite(changes);
}

}  // namespace headscope::tokenizers
