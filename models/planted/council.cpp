#include "council.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <numbers>

#include "headscope/error.h"

// How a sentence becomes numbers, and what the heads ask of them.
//
// A token is a vector of 768 numbers, and each has one meaning:
//     0.. 23   code: which word this is, 24 numbers of +1 and -1
//    24..159   clock: where it stands, 34 hands of a clock, four numbers a hand
//   160..259   facts: what grammar says, 50 pairs (33 used), (+1,-1) for yes and (-1,+1) for no
//   576..767   findings: empty at first; head h writes the code of what it found to 24 of them
//
// Law of the norm. LayerNorm takes the mean away and divides by the standard deviation. Here the
// mean is always 0 (codes have twelve +1 and twelve -1; facts and hands carry their own negative),
// and the sum of squares is always 24 + 68 + 100 = 192 = 768/4, so that the deviation is always
// 1/2. A norm whose weight is 1/2 therefore changes nothing, and all the rest is linear.
//
// Law of the score. A head adds up products of one number of the asking token (q) and one of the
// token asked (k). With facts as 0 and 1 a product is "and", a sum of products is "how many of
// these pairs hold". Weights in nats: 4 more make a token 50 times as likely.
//
// Law of rest. [CLS] shows no head anything but one number, so that its score is the same for
// every asker: the head's threshold. Above it is found, below it is not: the head rests on [CLS].
namespace headscope::planted {
namespace {

constexpr std::size_t kCodeBits = 24, kHands = 34, kFactPairs = 50;
constexpr std::size_t kCodeAt = 0;
constexpr std::size_t kClockAt = kCodeAt + kCodeBits;
constexpr std::size_t kFactsAt = kClockAt + 4 * kHands;
constexpr std::size_t kFindingsAt = kWidth - kHeads * kCodeBits;
static_assert(kFacts <= kFactPairs && kFactsAt + 2 * kFactPairs <= kFindingsAt);
constexpr double kSquares = kCodeBits + 2 * kHands + 2 * kFactPairs;
static_assert(4 * (kCodeBits + 2 * kHands + 2 * kFactPairs) == kWidth);
constexpr double kFindingSize = 0.25;  // of a code's number when it is written to the findings

// Codes of the extended Golay code: any two differ in at least 8 of 24 places, so that the product
// of a code with itself is 24 and with another at most 8. Of its 4096 codes 2576 have as many ones
// as zeros: mean 0. Source  Golay 1949; MacWilliams & Sloane 1977, chapter 2.
std::vector<std::uint32_t> balanced_codes() {
  constexpr std::uint32_t kGenerator = 0xAE3;  // x^11 + x^9 + x^7 + x^6 + x^5 + x + 1
  std::vector<std::uint32_t> codes;
  for (std::uint32_t number = 0; number < 4096; ++number) {
    std::uint32_t code = 0;  // number * generator, polynomials over {0,1}
    for (std::uint32_t bit = 0; bit < 12; ++bit) {
      if ((number >> bit & 1U) != 0) code ^= kGenerator << bit;
    }
    code = code << 1U | (static_cast<std::uint32_t>(std::popcount(code)) & 1U);
    if (std::popcount(code) == 12) codes.push_back(code);
  }
  return codes;
}

double sign_of_bit(std::uint32_t code, std::size_t bit) {
  return (code >> bit & 1U) != 0 ? 1.0 : -1.0;
}

// The clock. Hand m turns by k*pi/65 a word, k = 1, 3, 5, .. 65; the last hand, k = 1/2, is so slow
// that it tells the two halves of a long text apart. The angle between two tokens' hands depends
// on their distance only, and Fourier's law lets a head choose any taste for distance it likes:
//     taste(d) = sum_k a_k cos(k*pi*d/65) + b_k sin(k*pi*d/65)
// is exact for d = -32..32, and odd k continue it as taste(d + 65) = -taste(d): what is liked near
// by is disliked 65 words from there.
constexpr int kHalfTurn = 65;
constexpr int kReach = kHalfTurn / 2;
double speed(std::size_t hand) {
  const double k = hand + 1 < kHands ? 2.0 * static_cast<double>(hand) + 1.0 : 0.5;
  return k * std::numbers::pi / kHalfTurn;
}

struct Taste {
  std::array<double, kHands> a{}, b{};
};

template <typename Curve>
Taste taste(Curve&& curve, double slow = 0.0) {
  Taste out;
  for (std::size_t hand = 0; hand + 1 < kHands; ++hand) {
    const double share = (hand + 2 < kHands ? 2.0 : 1.0) / kHalfTurn;  // k = 65 has no sine
    for (int d = -kReach; d <= kReach; ++d) {
      out.a[hand] += share * curve(d) * std::cos(speed(hand) * d);
      out.b[hand] += share * curve(d) * std::sin(speed(hand) * d);
    }
  }
  out.a[kHands - 1] = slow;
  return out;
}

// One head under construction: each call spends some of its 96 dimensions on one kind of question.
class Head {
 public:
  Head(Council& council, std::size_t head, Name name)
      : council_(council), first_(head * kHeadWidth), next_(first_) {
    council.names.push_back(std::move(name));
    // What the head finds is a word's code; the output writes it, small, to the head's own place.
    for (std::size_t bit = 0; bit < kCodeBits; ++bit) {
      council.value.weight(first_ + bit, kCodeAt + bit) = 1.0;
      council.output.weight(kFindingsAt + head * kCodeBits + bit, first_ + bit) = kFindingSize;
    }
  }

  // The score of [CLS], for every asker.
  Head& rest(double threshold) {
    council_.query.bias[next_] = threshold * kUnscale;
    add_fact(council_.key, kFirst, 1.0);
    return done(1);
  }

  // `nats` more where the asker has one fact and the asked another.
  Head& both(std::size_t asker, std::size_t asked, double nats) {
    add_fact(council_.query, asker, nats * kUnscale);
    add_fact(council_.key, asked, 1.0);
    return done(1);
  }

  // Adds taste(d), d = place of the asked minus place of the asker. The asker turns its hand by the
  // taste's phase, and cos(x - y) = cos x cos y + sin x sin y does the rest. [CLS] stands at place
  // 0, hands at (1, 0): subtracting its fact from the key hides them.
  Head& clock(const Taste& t) {
    for (std::size_t hand = 0; hand < kHands; ++hand) {
      const std::size_t cosine = kClockAt + 4 * hand;
      const std::size_t sine = cosine + 2;
      council_.query.weight(next_, cosine) = t.a[hand] * kUnscale;
      council_.query.weight(next_, sine) = -t.b[hand] * kUnscale;
      council_.key.weight(next_, cosine) = 1.0;
      add_fact(council_.key, kFirst, -1.0);
      done(1);
      council_.query.weight(next_, sine) = t.a[hand] * kUnscale;
      council_.query.weight(next_, cosine) = t.b[hand] * kUnscale;
      council_.key.weight(next_, sine) = 1.0;
      done(1);
    }
    return *this;
  }

  // `nats` for each of the 24 places in which two words' codes agree, less for those in which they
  // do not. [UNK] does not ask (two unknown words are not the same word) and [CLS] does not answer:
  // each has its own code subtracted.
  Head& same_code(double nats) {
    for (std::size_t bit = 0; bit < kCodeBits; ++bit) {
      council_.query.weight(next_, kCodeAt + bit) = nats * kUnscale;
      add_fact(council_.query, kUnknown, -council_.words(1, kCodeAt + bit) * nats * kUnscale);
      council_.key.weight(next_, kCodeAt + bit) = 1.0;
      add_fact(council_.key, kFirst, -council_.words(2, kCodeAt + bit));
      done(1);
    }
    return *this;
  }

 private:
  // Attention divides scores by sqrt(96); queries are that much larger.
  inline static const double kUnscale = std::sqrt(static_cast<double>(kHeadWidth));

  // Adds weight * fact, the fact as 0 or 1: half of it from the pair's +1 or -1, half from the
  // bias.
  void add_fact(Linear& to, std::size_t fact, double weight) const {
    to.weight(next_, kFactsAt + 2 * fact) += weight / 2;
    to.bias[next_] += weight / 2;
  }

  Head& done(std::size_t dimensions) {
    next_ += dimensions;
    if (next_ > first_ + kHeadWidth) {
      throw Error(ErrorCode::kInternal, "[planted] expected at most 96 dimensions a head");
    }
    return *this;
  }

  Council& council_;
  std::size_t first_, next_;
};

void embed_word(Matrix& words, std::size_t id, const Word& word, std::uint32_t code) {
  for (std::size_t bit = 0; bit < kCodeBits; ++bit) {
    words(id, kCodeAt + bit) = sign_of_bit(code, bit);
  }
  for (std::size_t fact = 0; fact < kFactPairs; ++fact) {
    const double yes = fact < kFacts && word.facts[fact] ? 1.0 : -1.0;
    words(id, kFactsAt + 2 * fact) = yes;
    words(id, kFactsAt + 2 * fact + 1) = -yes;
  }
}

void embed_position(Matrix& positions, std::size_t place) {
  for (std::size_t hand = 0; hand < kHands; ++hand) {
    const double angle = speed(hand) * static_cast<double>(place);
    const std::size_t at = kClockAt + 4 * hand;
    positions(place, at) = std::cos(angle);
    positions(place, at + 1) = -std::cos(angle);
    positions(place, at + 2) = std::sin(angle);
    positions(place, at + 3) = -std::sin(angle);
  }
}

// Heads 0 to 3: a place at a fixed distance is worth 24 nats, [CLS] 12, all others 0.
void plant_places(Council& council) {
  const auto at = [](int wanted) {
    return taste([wanted](int d) { return d == wanted ? 24.0 : 0.0; });
  };
  Head(council, 0, {"P", "circle", "previous token", "предыдущий токен"}).clock(at(-1)).rest(12);
  Head(council, 1, {"N", "circle", "next token", "следующий токен"}).clock(at(1)).rest(12);
  Head(council, 2, {"F", "hexagon", "first token", "первый токен"}).rest(12);
  Head(council, 3, {"I", "circle", "itself", "сам на себя"}).clock(at(0)).rest(12);
}

// Head 4: the same code is worth 72 nats, another at most 24, and being at the asker's own place
// takes 24 away: 48 for itself, 72 for another occurrence, and 60 for [CLS] between them. Clocks
// being as they are, 24 come on top 65 words away: 48 at most for another word, still below [CLS].
void plant_same_word(Council& council) {
  Head(council, 4, {"S", "triangle", "same word", "то же слово"})
      .same_code(3)
      .clock(taste([](int d) { return d == 0 ? -24.0 : 0.0; }))
      .rest(60);
}

// Heads 5 to 7 like what is near: kNear nats a word, from +32.5 words' worth to -32.5 at a distance
// of 65, where the slow hand takes over. The threshold is kSure above the most that nearness alone
// can give, and the wanted pair of facts brings a token above the threshold by kSure as long as it
// is within the head's reach.
constexpr double kNear = 4, kSlow = 100, kSure = 10;
constexpr double kMiddle = kHalfTurn / 2.0;
double near(int d) { return kNear * (kMiddle - std::abs(d)); }
double slow(int d, double nats = kSlow) { return nats * std::cos(speed(kHands - 1) * d); }

// Every word looks at the nearest verb, however far. One 127 words away looks 3 words near to the
// other hands: the slow one must be worth more than the 61 words between, so that a verb up to 64
// words away comes first.
void plant_action(Council& council) {
  constexpr double kFar = 250;
  const double most = near(0) + slow(0, kFar), threshold = most + kSure;
  double least = most;
  for (int d = 0; d < static_cast<int>(kPositions); ++d) {
    least = std::min(least, (d < kHalfTurn ? near(d) : -near(d - kHalfTurn)) + slow(d, kFar));
  }
  Head(council, 5, {"V", "square", "the action", "действие"})
      .both(kWord, kVerb, threshold + kSure - least)
      .clock(taste(near, kFar))
      .rest(threshold);
}

// An adjective looks at the noun that answers its question, up to 12 words to the right of it or 6
// to the left ("the king is old"): looking back costs about as much as 6 words more.
void plant_adjective(Council& council) {
  constexpr int kFarthest = 12;
  constexpr double kBack = 3 * kNear;
  const auto right = [](int d) { return near(d) + (d > 0 ? kBack : d < 0 ? -kBack : 0.0); };
  const double threshold = right(1) + slow(1) + kSure;
  Head head(council, 6, {"A", "square", "adjective → noun", "прил. → сущ."});
  for (std::size_t question = 0; question < kQuestions; ++question) {
    head.both(kAsks + question,
              kAnswers + question,
              threshold + kSure - right(kFarthest) - slow(kFarthest));
  }
  head.clock(taste(right, kSlow)).rest(threshold);
}

// Who gives looks at whom it is given to, and back, up to 24 words away. English nouns do not show
// which of the two they are: a living being looks at the nearest other one, and being at the
// asker's own place takes so much away that it falls below the threshold.
void plant_who_whom(Council& council) {
  constexpr int kFarthest = 24;
  const double threshold = near(0) + slow(0) + kSure;
  const double pair = threshold + kSure - near(kFarthest) - slow(kFarthest);
  const double not_me = pair + 2 * kSure;
  Head(council, 7, {"W", "square", "who – whom", "кто – кому"})
      .both(kWho, kWhom, pair)
      .both(kWhom, kWho, pair)
      .both(kAnimate, kAnimate, pair)
      .clock(taste([not_me](int d) { return near(d) - (d == 0 ? not_me : 0.0); }, kSlow))
      .rest(threshold);
}

}  // namespace

Council plant(const std::vector<Word>& words) {
  const std::vector<std::uint32_t> codes = balanced_codes();
  if (words.size() > codes.size()) {
    throw Error(ErrorCode::kResources,
                "[planted] expected at most " + std::to_string(codes.size()) + " words, found " +
                    std::to_string(words.size()));
  }
  Council council(words.size());
  for (std::size_t id = 0; id < words.size(); ++id) {
    embed_word(council.words, id, words[id], codes[id]);
  }
  for (std::size_t place = 0; place < kPositions; ++place) embed_position(council.positions, place);
  plant_places(council);
  plant_same_word(council);
  plant_action(council);
  plant_adjective(council);
  plant_who_whom(council);
  // The norms undo themselves: their weight is the deviation of what they get. After the attention
  // that is a token and its findings; the feed-forward network then adds nothing.
  council.embedding_scale = std::sqrt(kSquares / kWidth);
  council.block_scale = std::sqrt((kSquares + kHeads * kCodeBits * kFindingSize * kFindingSize) /
                                  static_cast<double>(kWidth));
  return council;
}

}  // namespace headscope::planted
