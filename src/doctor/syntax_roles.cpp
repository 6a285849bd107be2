// Names for heads from their scores on treebanks.
#include <algorithm>
#include <iterator>

#include "doctor/syntax.h"

namespace headscope::doctor {

namespace {
constexpr RoleName kNames[] = {
    {"nsubj>iobj", Looks::kAtHead, "W", "who to whom", "кто кому"},
    {"nsubj>iobj", Looks::kAtDependent, "W", "to whom, from whom", "кому, от кого"},
    {"nsubj>obj", Looks::kAtHead, "O", "who to what", "кто что"},
    {"nsubj", Looks::kAtHead, "V", "subject to its verb", "подлежащее к сказуемому"},
    {"nsubj", Looks::kAtDependent, "S", "verb to its subject", "сказуемое к подлежащему"},
    {"obj", Looks::kAtHead, "V", "object to its verb", "дополнение к глаголу"},
    {"obj", Looks::kAtDependent, "O", "verb to its object", "глагол к дополнению"},
    {"iobj", Looks::kAtHead, "V", "receiver to the verb", "адресат к глаголу"},
    {"obl", Looks::kAtHead, "V", "circumstance to the verb", "обстоятельство к глаголу"},
    {"amod", Looks::kAtHead, "A", "adjective to its noun", "прилагательное к существительному"},
    {"amod",
     Looks::kAtDependent,
     "A",
     "noun to its adjective",
     "существительное к прилагательному"},
    {"nmod", Looks::kAtHead, "G", "noun to the noun it is of", "существительное к главному"},
    {"det", Looks::kAtHead, "D", "determiner to its noun", "определитель к существительному"},
    {"case", Looks::kAtHead, "P", "preposition to its noun", "предлог к существительному"},
    {"advmod", Looks::kAtHead, "M", "adverb to what it qualifies", "наречие к тому, что уточняет"},
};
}  // namespace

const RoleName* role_name(std::string_view en) {
  if (en.starts_with(kTaught)) en.remove_prefix(kTaught.size());
  const auto* found =
      std::ranges::find_if(kNames, [&](const RoleName& name) { return en == name.en; });
  return found == std::end(kNames) ? nullptr : found;
}

bool Edges::named(std::size_t head) const {
  constexpr double kAbove = 0.10;
  constexpr double kElsewhere = 0.50;
  constexpr std::int64_t kFew = 50;
  if (n < kFew) return false;
  if (accuracy(head) >= baseline() + kAbove) return true;
  return accuracy(head) >= baseline() && n - n_at_offset >= kFew &&
         accuracy_off_offset(head) >= kElsewhere;
}

std::vector<Role> syntax_roles(const Syntax& syntax, const std::string& source) {
  std::vector<Role> roles;
  for (const RoleName& name : kNames) {
    const Edges* edges = syntax.find(name.relation, name.looks);
    if (edges == nullptr) continue;
    const std::size_t best = edges->best();
    if (!edges->named(best)) continue;
    Role role;
    const HeadId head = syntax.head(best);
    role.layer = head.layer;
    role.head = head.head;
    role.letter = name.letter;
    role.shape = "square";
    role.en = name.en;
    role.ru = name.ru;
    role.source = source;
    role.score = edges->accuracy(best);
    role.baseline = edges->baseline();
    role.n = edges->n;
    roles.push_back(std::move(role));
  }
  return roles;
}

}  // namespace headscope::doctor
