//! Walks over the trees of statements, compiled once for all visitors.
//!
//! `Visit::visit` is generic in its visitor, and sqlparser's trees have some five hundred kinds of node: for two dozen
//! visitors that was most of what this crate compiled to. Here they all come through one, behind `dyn`.

use std::ops::ControlFlow;

use sqlparser::ast::{
    Expr, ObjectName, Query, Select, Statement, TableFactor, ValueWithSpan, Visit, VisitMut, Visitor, VisitorMut,
};

/// As `node.visit(visitor)`.
pub fn visit<V: Visitor>(node: &impl Visit, visitor: &mut V) -> ControlFlow<V::Break> {
    let mut kept = Kept { visitor, broke: None };
    let _ = node.visit(&mut Any(&mut kept));
    kept.broke.map_or(ControlFlow::Continue(()), ControlFlow::Break)
}

/// As `node.visit(visitor)`, of one that changes what it visits.
pub fn visit_mut<V: VisitorMut>(node: &mut impl VisitMut, visitor: &mut V) -> ControlFlow<V::Break> {
    let mut kept = KeptMut { visitor, broke: None };
    let _ = node.visit(&mut AnyMut(&mut kept));
    kept.broke.map_or(ControlFlow::Continue(()), ControlFlow::Break)
}

/// Shows every expression in `node`, outer ones first.
pub fn expressions<B>(node: &impl Visit, see: impl FnMut(&Expr) -> ControlFlow<B>) -> ControlFlow<B> {
    visit(node, &mut Expressions(see))
}

/// Shows every expression in `node` to be changed, inner ones first.
pub fn expressions_mut<B>(node: &mut impl VisitMut, see: impl FnMut(&mut Expr) -> ControlFlow<B>) -> ControlFlow<B> {
    visit_mut(node, &mut Expressions(see))
}

struct Expressions<F>(F);

impl<B, F: FnMut(&Expr) -> ControlFlow<B>> Visitor for Expressions<F> {
    type Break = B;

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<B> {
        (self.0)(expr)
    }
}

impl<B, F: FnMut(&mut Expr) -> ControlFlow<B>> VisitorMut for Expressions<F> {
    type Break = B;

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<B> {
        (self.0)(expr)
    }
}

/// The one visitor with which trees are compiled.
struct Any<'v>(&'v mut dyn Visitor<Break = ()>);

struct AnyMut<'v>(&'v mut dyn VisitorMut<Break = ()>);

/// A visitor, and what it broke off with.
struct Kept<'v, V: Visitor> {
    visitor: &'v mut V,
    broke: Option<V::Break>,
}

struct KeptMut<'v, V: VisitorMut> {
    visitor: &'v mut V,
    broke: Option<V::Break>,
}

macro_rules! pass_on {
    ($($hook:ident $node:ident),*) => {
        impl Visitor for Any<'_> {
            type Break = ();
            $(fn $hook(&mut self, node: &$node) -> ControlFlow<()> {
                self.0.$hook(node)
            })*
        }

        impl VisitorMut for AnyMut<'_> {
            type Break = ();
            $(fn $hook(&mut self, node: &mut $node) -> ControlFlow<()> {
                self.0.$hook(node)
            })*
        }

        impl<V: Visitor> Visitor for Kept<'_, V> {
            type Break = ();
            $(fn $hook(&mut self, node: &$node) -> ControlFlow<()> {
                self.visitor.$hook(node).map_break(|value| self.broke = Some(value))
            })*
        }

        impl<V: VisitorMut> VisitorMut for KeptMut<'_, V> {
            type Break = ();
            $(fn $hook(&mut self, node: &mut $node) -> ControlFlow<()> {
                self.visitor.$hook(node).map_break(|value| self.broke = Some(value))
            })*
        }
    };
}

pass_on!(
    pre_visit_query Query, post_visit_query Query,
    pre_visit_select Select, post_visit_select Select,
    pre_visit_relation ObjectName, post_visit_relation ObjectName,
    pre_visit_table_factor TableFactor, post_visit_table_factor TableFactor,
    pre_visit_expr Expr, post_visit_expr Expr,
    pre_visit_statement Statement, post_visit_statement Statement,
    pre_visit_value ValueWithSpan, post_visit_value ValueWithSpan
);
