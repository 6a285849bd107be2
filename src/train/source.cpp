#include "train/source.h"

#include <algorithm>
#include <span>
#include <utility>

#include "headscope/error.h"
#include "train/draws.h"
#include "train/rows.h"
#include "train/vocabulary.h"

namespace headscope::train {

namespace {

/// Draws windows: each of a text once before any comes again, in another order every time.
class TextSource : public Source {
 public:
  TextSource(std::vector<Share> shares, std::uint64_t seed)
      : shares_(std::move(shares)), seed_(seed) {
    if (shares_.empty()) throw Error(ErrorCode::kInput, "[data] expected a text, found none");
  }

  [[nodiscard]] Batch batch(std::uint64_t n) const final {
    Rows rows;
    for (std::size_t s = 0; s < shares_.size(); ++s) {
      const auto all = static_cast<std::uint64_t>(shares_[s].text->windows());
      const auto each = static_cast<std::uint64_t>(shares_[s].windows);
      for (std::uint64_t i = n * each; i < (n + 1) * each; ++i) {
        const std::uint64_t order = draw(seed_, s, i / all);
        const auto window = static_cast<std::int64_t>(shuffled(i % all, all, order));
        add(*shares_[s].text, window, draw(seed_ + 1, s, i), rows);
        rows.end_sequence();
      }
    }
    return rows.batch();
  }

  [[nodiscard]] std::uint64_t pass() const final {
    std::int64_t longest = 1;
    for (const Share& share : shares_) {
      longest = std::max(longest, (share.text->windows() + share.windows - 1) / share.windows);
    }
    return static_cast<std::uint64_t>(longest);
  }

 private:
  virtual void add(const TextData& text,
                   std::int64_t window,
                   std::uint64_t seed,
                   Rows& rows) const = 0;

  std::vector<Share> shares_;
  std::uint64_t seed_;
};

class Causal : public TextSource {
 public:
  using TextSource::TextSource;

 private:
  void add(const TextData& text, std::int64_t window, std::uint64_t, Rows& rows) const override {
    const auto ids = text.ids(window);
    for (std::size_t i = 0; i < ids.size(); ++i) {
      rows.add(ids[i], i + 1 < ids.size() ? ids[i + 1] : kNoLabel);
    }
  }
};

class Masked : public TextSource {
 public:
  Masked(std::vector<Share> shares,
         const Hiding& hiding,
         std::uint64_t seed,
         std::int32_t vocabulary)
      : TextSource(std::move(shares), seed), hiding_(hiding), vocabulary_(vocabulary) {}

 private:
  void add(const TextData& text,
           std::int64_t window,
           std::uint64_t seed,
           Rows& rows) const override {
    const auto ids = text.ids(window);
    const auto kinds = text.kinds(window);
    rows.add(kClass);
    for (std::size_t first = 0; first < ids.size();) {
      std::size_t last = first + 1;
      while (last < ids.size() && continues(kinds[last])) ++last;
      const bool ended = last - first > 1 && (kinds[last - 1] & kKindMask) == kEnding;
      const double chance = unit(draw(seed, first));
      const HiddenWords& hiding =
          (kinds[first] & kIsEnglish) != 0 ? hiding_.english : hiding_.words;
      const double whole = share_of(kinds[first], ended, hiding);
      const bool hide_all = chance < whole;
      const bool hide_ending = ended && !hide_all && chance < whole + hiding.endings;
      for (std::size_t i = first; i < last; ++i) {
        const bool hidden = hide_all || (hide_ending && i + 1 == last);
        const std::uint64_t how = draw(seed, first, 1 + (hide_all ? 0 : i - first));
        rows.add(hidden ? shown(ids, kinds, i, how, draw(seed, i, 77)) : ids[i],
                 hidden ? ids[i] : kNoLabel);
      }
      if (last < ids.size() && unit(draw(seed, first, 78)) < hiding_.gaps) rows.add(kMask);
      first = last;
    }
    rows.add(kSeparator);
  }

  static bool continues(std::uint8_t kind) {
    return (kind & kKindMask) == kStemMore || (kind & kKindMask) == kEnding;
  }

  static double share_of(std::uint8_t kind, bool ended, const HiddenWords& hiding) {
    switch (kind & kKindMask) {
      case kMark:
        return hiding.marks;
      case kFunction:
        return hiding.functions;
      default:
        return ended ? hiding.stems : hiding.words;
    }
  }

  /// What stands in the place of a hidden token.
  [[nodiscard]] std::int32_t shown(std::span<const std::int32_t> ids,
                                   std::span<const std::uint8_t> kinds,
                                   std::size_t at,
                                   std::uint64_t how,
                                   std::uint64_t which) const {
    const double chance = unit(how);
    if (chance < hiding_.masked) return kMask;
    if (chance >= hiding_.masked + hiding_.replaced) return ids[at];
    // Of the same kind: one that the window has elsewhere is as common as tokens of its kind are.
    const std::size_t begin = below(which, ids.size());
    for (std::size_t i = 0; i < ids.size(); ++i) {
      const std::size_t other = (begin + i) % ids.size();
      constexpr std::uint8_t kSame = kKindMask | kIsEnglish;
      if (other != at && ids[other] != ids[at] && ((kinds[other] ^ kinds[at]) & kSame) == 0)
        return ids[other];
    }
    const auto ordinary = static_cast<std::uint64_t>(vocabulary_ - kSpecialCount);
    return kSpecialCount + static_cast<std::int32_t>(below(which, ordinary));
  }

  Hiding hiding_;
  std::int32_t vocabulary_;
};

}  // namespace

std::unique_ptr<Source> causal_source(std::vector<Share> shares, std::uint64_t seed) {
  return std::make_unique<Causal>(std::move(shares), seed);
}

std::unique_ptr<Source> masked_source(std::vector<Share> shares,
                                      const Hiding& hiding,
                                      std::uint64_t seed,
                                      std::int32_t vocabulary) {
  return std::make_unique<Masked>(std::move(shares), hiding, seed, vocabulary);
}

}  // namespace headscope::train
