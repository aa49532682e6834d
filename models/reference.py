"""What the rest of the platform points at: life-cycle statuses, insurance programs and producers (the tenants)."""

from datetime import date

from sqlalchemy import CheckConstraint, String
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Audited, Base, BigId, Timestamped
from models.facts import NOT_PERSONAL, kept_while_used


class Status(Timestamped, Base):
    """A row's life-cycle status, `models.vocabularies.StatusCode`; refer to it by code, never by a literal id."""

    __tablename__ = "status"
    __table_args__ = ({"info": kept_while_used("rows everywhere refer to it")},)

    id: Mapped[BigId]
    code: Mapped[str] = mapped_column(String(50), unique=True, info=NOT_PERSONAL)
    name: Mapped[str] = mapped_column(String(100), info=NOT_PERSONAL)
    description: Mapped[str | None] = mapped_column(info=NOT_PERSONAL)


class Program(Audited, Base):
    """An insurance program: the middle scope of configurations, mappings and permissions."""

    __tablename__ = "program"
    __table_args__ = (
        CheckConstraint("expiration_date > effective_date", name="dates"),
        {"info": kept_while_used("configurations and requests refer to it")},
    )

    id: Mapped[BigId]
    code: Mapped[str] = mapped_column(String(50), unique=True, info=NOT_PERSONAL)
    name: Mapped[str] = mapped_column(String(100), info=NOT_PERSONAL)
    effective_date: Mapped[date | None]
    expiration_date: Mapped[date | None]


class Producer(Audited, Base):
    """An agency that sells policies: the nearest scope, and the tenant of the jobs asked for on its behalf."""

    __tablename__ = "producer"
    __table_args__ = ({"info": kept_while_used("configurations and jobs refer to it")},)

    id: Mapped[BigId]
    producer_code: Mapped[str] = mapped_column(String(50), unique=True, info=NOT_PERSONAL)
    name: Mapped[str] = mapped_column(String(100), info=NOT_PERSONAL)
